"""The tiled head's way through a GPU, on a make-believe one: same numbers, hardly a wait."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import frfw
from frfw.errors import FrfwError
from frfw.losses import create_weighting, formula_names

sys.path.insert(0, str(Path(__file__).parents[1]))
from make_believe_gpu import GPU, MakeBelieveGpu, OnGpu, held, place

CLASSES, DIM, BATCH, STEPS = 300, 16, 24, 3
CASES = {
    "one tile": {},
    "least memory": {"memory_budget": 0},
    "many tiles": {"memory_budget": 20_000},
    "bf16": {"precision": "bf16", "memory_budget": 20_000},
    "fp16": {"precision": "fp16"},
    "tf32": {"precision": "tf32"},
    "fused": {"fused_update": True, "memory_budget": 20_000},
    "sampled": {"parallel": "sampled", "sample_rate": 0.3},
    "sampled, fused": {"parallel": "sampled", "sample_rate": 0.3, "fused_update": True},
}
FORMULAS = [name for name in formula_names() if name != "linear_softmax"]


def train(loss, on_gpu, options, *, weighting=None, optimizer=torch.optim.SGD, statistics=False):
    """Losses, gradients and weight of three steps; how often a step waited for the device."""
    torch.manual_seed(0)
    weighting = create_weighting(weighting) if weighting else None
    head = frfw.create_classifier(
        loss, DIM, CLASSES, "tiled", compile=False, weighting=weighting, **options
    )
    head.statistics = statistics
    x, y = torch.randn(BATCH, DIM), torch.randint(CLASSES, (BATCH,))
    if not on_gpu:
        return steps(head, optimizer, x, y), []
    with MakeBelieveGpu() as gpu:
        found = steps(place(head), optimizer, OnGpu(x), OnGpu(y))
    return found, gpu.waits


def steps(head, optimizer, x, y):
    more = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
    update = optimizer(head.parameters(), lr=0.1, weight_decay=1e-3, **more)
    head.attach(update)
    found = []
    for _ in range(STEPS):
        x = x.detach().requires_grad_()
        update.zero_grad()
        out = head(x, y)
        out.loss.backward()
        head.reduce_gradients()
        update.step()
        found += [out.loss.detach(), x.grad]
    found += [head.weight.detach(), *head.buffers()]
    if head.statistics:
        found += [out.max_negative_cos, out.hard_share, out.correct, out.correct_margin]
        found += out.modulation.values()
    return [held(value) for value in found]


@pytest.mark.parametrize("loss", FORMULAS)
@pytest.mark.parametrize("case", CASES)
def test_same_numbers_as_on_the_cpu(loss, case):
    expected, _ = train(loss, False, CASES[case])
    found, waits = train(loss, True, CASES[case])
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=0)
    # A step waits for the verdict on its batch; where the targets of many tiles lie; which rows of
    # a sparse gradient are whose.
    assert len(waits) <= STEPS * (3 if "sampled" in case else 2), waits[:4]


@pytest.mark.parametrize("weighting", ["focal", "ohem"])
def test_weightings(weighting):
    expected, _ = train("curricular", False, {}, weighting=weighting)
    found, waits = train("curricular", True, {}, weighting=weighting)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=0)
    assert len(waits) == STEPS


def test_statistics_wait_for_nothing():
    expected, _ = train("mv_arc", False, {"memory_budget": 20_000}, statistics=True)
    found, waits = train("mv_arc", True, {"memory_budget": 20_000}, statistics=True)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=0)
    assert len(waits) == 2 * STEPS, waits


def test_sampled_rows_of_adam():
    options = {"parallel": "sampled", "sample_rate": 0.3}
    expected, _ = train("arcface", False, options, optimizer=torch.optim.AdamW)
    found, _ = train("arcface", True, options, optimizer=torch.optim.AdamW)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=0)


@pytest.mark.parametrize("how", ["none", "ieee", "tf32"])
def test_how_others_multiply_is_left_alone(how):
    settings = torch.backends.cuda.matmul
    before, settings.fp32_precision = settings.fp32_precision, how
    try:
        train("arcface", True, {"precision": "tf32"})
        assert settings.fp32_precision == how
    finally:
        settings.fp32_precision = before
    assert settings.allow_tf32 is False


def test_a_bad_label_is_named():
    head = frfw.create_classifier("arcface", DIM, CLASSES, "tiled")
    with MakeBelieveGpu(), pytest.raises(FrfwError, match="label 300 at position 1"):
        place(head)(OnGpu(torch.randn(3, DIM)), OnGpu(torch.tensor([0, 300, 1])))


def test_what_is_made_believe():
    """A tensor on the wrong device is an error, and reading one is a wait."""
    with MakeBelieveGpu() as gpu:
        there = torch.ones(3, device="cuda")
        assert there.device == GPU
        assert (there * 2 + 1).is_cuda
        with pytest.raises(RuntimeError, match="one device"):
            there + torch.ones(3)
        assert gpu.waits == []
        assert there.sum().item() == 3
        assert there.tolist() == [1, 1, 1]
        assert not there.cpu().is_cuda
        assert len(there[there > 0]) == 3
        assert len(gpu.waits) == 4
        weight = nn.Linear(3, 2).to("cuda").weight
        assert weight.is_cuda
        weight.sum().backward()
        assert weight.grad.is_cuda
