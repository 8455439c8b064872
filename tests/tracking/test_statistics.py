"""Head statistics equal plain arithmetic, and never leave the device."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from frfw.tracking.statistics import head_statistics, percentiles

sys.path.insert(0, str(Path(__file__).parents[1]))
from make_believe_gpu import MakeBelieveGpu, OnGpu, held, place


def output(batch=8):
    cos = torch.linspace(-0.2, 0.9, batch, requires_grad=True)
    return SimpleNamespace(
        cos_target=cos,
        max_negative_cos=torch.full((batch,), 0.3),
        hard_share=torch.linspace(0, 1, batch),
        correct=cos > 0.3,
        correct_margin=cos > 0.6,
        modulation={"mean": torch.tensor(0.5), "min": torch.tensor(0.1), "max": torch.tensor(0.9)},
    )


class WithState(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("t", torch.tensor([0.25]))
        self.register_buffer("steps", torch.tensor(3))


def test_values():
    out = output()
    embeddings = torch.tensor([[3.0, 4.0]]).repeat(8, 1)
    found = head_statistics(out, embeddings, WithState())
    assert set(found) == {
        "head/cos_target_mean", "head/cos_target_p10", "head/cos_target_p50",
        "head/cos_target_p90", "head/max_negative_cos", "head/accuracy_no_margin",
        "head/accuracy_margin", "head/hard_share", "head/feature_norm", "head/M_mean",
        "head/M_min", "head/M_max", "head/t",
    }  # fmt: skip
    assert all(v.dim() == 0 and not v.requires_grad for v in found.values())
    assert found["head/feature_norm"] == 5
    assert found["head/t"] == 0.25
    assert found["head/accuracy_no_margin"] == (out.cos_target > 0.3).float().mean()
    assert found["head/hard_share"] == pytest.approx(0.5)


def test_state_is_copied_before_it_moves_on():
    formula = WithState()
    found = head_statistics(output(), torch.ones(8, 2), formula)
    formula.t.fill_(0.9)
    assert found["head/t"] == 0.25


def test_what_was_not_measured_is_left_out():
    out = output()
    out.modulation = out.correct_margin = None
    found = head_statistics(out, torch.ones(8, 2))
    assert not any("M_" in name or "accuracy_margin" in name for name in found)


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=40), st.integers(0, 100))
def test_percentiles_equal_torch_quantile(values, percent):
    values = torch.tensor(values, dtype=torch.float64)
    (found,) = percentiles(values, (percent,))
    assert found.item() == pytest.approx(torch.quantile(values, percent / 100).item(), abs=1e-12)


def test_nothing_waits_for_the_device(monkeypatch):
    out, embeddings, formula = output(), torch.ones(8, 2), WithState()
    reading = ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__")
    for name in reading:
        monkeypatch.setattr(torch.Tensor, name, lambda *_, n=name: pytest.fail(f"calls {n}"))
    found = head_statistics(out, embeddings, formula)
    monkeypatch.undo()
    assert found["head/t"] == 0.25


def test_nothing_waits_for_a_make_believe_gpu():
    with MakeBelieveGpu() as gpu:
        there = {k: OnGpu(v.detach()) for k, v in vars(output()).items() if k != "modulation"}
        modulation = {k: OnGpu(v) for k, v in output().modulation.items()}
        out, formula = SimpleNamespace(**there, modulation=modulation), place(WithState())
        found = head_statistics(out, OnGpu(torch.ones(8, 2)), formula)
        assert gpu.waits == []
        expected = head_statistics(output(), torch.ones(8, 2), WithState())
        assert {k: held(v) for k, v in found.items()} == expected


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_synchronisation_on_cuda():
    cuda = {k: v.detach().cuda() for k, v in vars(output()).items() if k != "modulation"}
    modulation = {k: v.cuda() for k, v in output().modulation.items()}
    formula, embeddings = WithState().cuda(), torch.ones(8, 2, device="cuda")
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = head_statistics(SimpleNamespace(**cuda, modulation=modulation), embeddings, formula)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert found["head/t"].item() == 0.25
