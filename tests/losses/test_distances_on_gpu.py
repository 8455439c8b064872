"""On a GPU the gradients of distances are worked out in parts: the same numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from frfw.losses import distances
from frfw.losses.distances import DISTANCES

sys.path.insert(0, str(Path(__file__).parents[1]))
from make_believe_gpu import MakeBelieveGpu, OnGpu


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_in_parts(name, monkeypatch):
    monkeypatch.setattr(distances, "_MOST", 100)
    a = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    b = torch.cat([a.detach()[:2], torch.randn(4, 5, dtype=torch.float64)]).requires_grad_()
    found = DISTANCES[name](a, b)
    weights = torch.randn(7, 6, dtype=torch.float64)
    (found * weights).sum().backward()
    with MakeBelieveGpu():
        there = [OnGpu(t.detach()).requires_grad_() for t in (a, b)]
        value = DISTANCES[name](*there)
        (value * OnGpu(weights)).sum().backward()
        torch.testing.assert_close(value.held, found.detach())
        for on_gpu, on_cpu in zip(there, (a, b)):
            torch.testing.assert_close(on_gpu.grad.held, on_cpu.grad)
            assert on_cpu.grad.isfinite().all()
