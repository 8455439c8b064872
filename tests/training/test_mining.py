"""Offline mining: triplets by period, from all images, kept for a run that goes on."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import plain_config
import plain_run

from frfw.data import open_source
from frfw.errors import FrfwError
from frfw.losses import read_triplets

MINED = ["loss=triplet", "loss.mining=given", "mining=offline", "mining.every_epochs=1.5"]
SHORT = ["trainer.steps=8", "trainer.checkpoint_every=4", "mining.kind=batch_hard"]


def config_of(blobs, *more):
    return plain_config.config_of(blobs, [*MINED, *SHORT, *more])


def test_a_resumed_run_trains_on_the_same_triplets(tmp_path, blobs):
    whole = tmp_path / "whole"
    plain_run.train(whole, config_of(blobs))
    # 48 images in batches of 24: a period is 3 steps, so 8 steps begin three of them.
    files = sorted(whole.glob("triplets/*.pt"))
    assert [f.name for f in files] == [f"period_{n}.pt" for n in range(3)]
    labels = torch.as_tensor(open_source(blobs).labels)
    for file in files:
        anchor, positive, negative = read_triplets(file, labels)
        assert len(anchor) == 48
        assert (labels[anchor] == labels[positive]).all()
        assert (labels[anchor] != labels[negative]).all()

    again = tmp_path / "again"
    shutil.copytree(whole, again)
    for name in ("last.pt", "step_8.pt", "best.pt"):
        (again / "checkpoints" / name).unlink(missing_ok=True)
    (again / "triplets" / "period_2.pt").unlink()
    plain_run.train(again, config_of(blobs, "resume=auto"))
    one, two = plain_config.outcome(whole), plain_config.outcome(again)
    assert two["losses"][-4:] == one["losses"][-4:]
    assert all(torch.equal(v, two["backbone"][k]) for k, v in one["backbone"].items())


@pytest.mark.slow
def test_two_processes_mine_what_one_does(tmp_path, blobs):
    runs = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        config = config_of(blobs, "trainer.steps=4")
        if processes == 1:
            plain_run.train(folder, config)
        else:
            plain_config.run_to_end(folder, config, processes)
        runs.append(plain_config.outcome(folder)["losses"])
    assert runs[1] == pytest.approx(runs[0], rel=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("mining=none", "mining=given: set mining=offline"),
        ("loss.mining=all", "mines triplets for a triplet loss that takes them"),
        ("trainer.global_batch_size=16", "in threes"),
        ("mining.kind=hardest", "mining.kind=hardest"),
        ("mining.every_epochs=0", "must be above 0"),
    ],
)
def test_refusals(tmp_path, blobs, change, message):
    overrides = [o for o in [*MINED, *SHORT] if not (change == "mining=none" and "mining." in o)]
    overrides = [o for o in overrides if o.split("=")[0] != change.split("=")[0]]
    if change == "mining=none":
        overrides.append("loss.mining=given")
    config = plain_config.config_of(blobs, [*overrides, change])
    with pytest.raises(FrfwError, match=message):
        plain_run.train(tmp_path / "run", config)
