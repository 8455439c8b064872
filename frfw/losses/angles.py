"""Angles from cosines, with finite gradients on the whole of [-1, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def sine(cos: Tensor) -> Tensor:
    """Return sin θ for θ in [0, π], any shape; its gradient at |cos| >= 1 is 0 instead of infinite.

    Rounding can push a cosine slightly outside [-1, 1]; the sine is 0 there (1e-19 in float32: the
    smallest square whose root has a finite gradient).
    """
    return (1 - cos * cos).clamp_min(torch.finfo(cos.dtype).tiny).sqrt()


def angle(cos: Tensor) -> Tensor:
    """Return θ in [0, π]; exact like arccos, but its gradient stays finite at cos = ±1."""
    return torch.atan2(sine(cos), cos)


def add_angle(cos: Tensor, m: float | Tensor) -> Tensor:
    """Return cos(θ + m), without any rule for θ + m > π; m a number or broadcastable to `cos`."""
    if isinstance(m, Tensor):
        return cos * torch.cos(m) - sine(cos) * torch.sin(m)
    return _AddAngle.apply(cos, m)


class _AddAngle(torch.autograd.Function):
    """One node instead of nine: d cos(θ + m) / d cos θ = cos m + sin m cos θ / sin θ."""

    @staticmethod
    def forward(ctx, cos: Tensor, m: float) -> Tensor:
        sin = sine(cos)
        ctx.m = m
        ctx.save_for_backward(cos, sin)
        return cos * math.cos(m) - sin * math.sin(m)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        cos, sin = ctx.saved_tensors
        # Where `sine` is cut off its own gradient is 0.
        of_sine = (cos / sin).masked_fill_(sin * sin <= torch.finfo(sin.dtype).tiny, 0)
        return of_sine.mul_(math.sin(ctx.m)).add_(math.cos(ctx.m)).mul_(gradient), None


def straight_through(value: Tensor, cos: Tensor) -> Tensor:
    """Return exactly `value`, with the gradient of `cos`."""
    return value.detach() + (cos - cos.detach())
