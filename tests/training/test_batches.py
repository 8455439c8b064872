"""Where a run augments: in the loader's workers, or on its device, from the same keys."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import plain_config

from frfw.data import create_order, open_source
from frfw.data.augment import preset_strengths
from frfw.data.augment.device import DeviceAugment
from frfw.errors import FrfwError
from frfw.training.batch_plan import plan_batches
from frfw.training.batches import Batches, Phase
from frfw.training.distributed import Ranks

DEGRADED = "augment=degraded"


def steps(blobs, *overrides, start=0, **more):
    """All steps' micro-batches from `start` on."""
    config = plain_config.config_of(blobs, [DEGRADED, *overrides])
    dataset = open_source(config["data"])
    plan = plan_batches(len(dataset), 24, 12, 1, 1, 3)
    order = create_order("shuffled", dataset.labels, 1)
    phase = Phase(order, config["seed"], 0, plan.steps)
    ranks = Ranks(device=torch.device("cpu"))
    parts = SimpleNamespace(
        config=config, dataset=dataset, plan=plan, phase=phase, ranks=ranks, **more
    )
    return [batch for step in Batches(parts, start) for batch in step]


def test_the_device_augments_by_seed_epoch_and_index(blobs):
    plain = steps(blobs, "augment=none")
    device = steps(blobs, "augment.where=device")
    augment = DeviceAugment(preset_strengths("degraded"))
    for raw, batch in zip(plain, device, strict=True):
        assert torch.equal(raw.keys, batch.keys)
        assert torch.equal(augment(raw.images, raw.keys), batch.images)
        assert not torch.equal(raw.images, batch.images)
    later = steps(blobs, "augment.where=device", start=1)
    assert all(torch.equal(a.images, b.images) for a, b in zip(device[2:], later, strict=True))
    seeded = steps(blobs, "augment.where=device", "seed=2")
    assert not torch.equal(seeded[0].keys, device[0].keys)


def test_strengths_reach_both(blobs):
    flip = ["augment=none", "+augment.strengths.flip=1"]
    raw = steps(blobs, "augment=none")
    for where in ("workers", "device"):
        for one, two in zip(raw, steps(blobs, *flip, f"augment.where={where}"), strict=True):
            assert torch.equal(one.images.flip(3), two.images)


def test_refusals(blobs):
    with pytest.raises(FrfwError, match="choose workers or device"):
        steps(blobs, "augment.where=gpu")
    with pytest.raises(FrfwError, match="Did you mean 'crop'"):
        steps(blobs, "+augment.strengths.crob=1")
