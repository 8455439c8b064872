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


def add_angle(cos: Tensor, m: float | Tensor, beyond_pi: str = "none") -> Tensor:
    """Return cos(θ + m); m a number or broadcastable to `cos`.

    Args:
        beyond_pi: where θ + m > π: `none` (no rule), `linear` (cos θ - m sin m), `cosine` (cos θ)
            or `saturate` (-1).
    """
    if not isinstance(m, Tensor):
        return _AddAngle.apply(cos, m, beyond_pi)
    turned = cos * torch.cos(m) - sine(cos) * torch.sin(m)
    if beyond_pi == "none":
        return turned
    # A margin drawn below 0 never turns the angle beyond π.
    edge = torch.where(m > 0, -torch.cos(m), -2)
    return torch.where(cos > edge, turned, _past(cos, m * torch.sin(m), beyond_pi))


def _past(cos: Tensor, drop: float | Tensor, beyond_pi: str) -> Tensor:
    """What stands for cos(θ + m) where θ + m > π."""
    if beyond_pi == "linear":
        return cos - drop
    return cos if beyond_pi == "cosine" else torch.full_like(cos, -1)


class _AddAngle(torch.autograd.Function):
    """One node instead of a dozen: d cos(θ + m) / d cos θ = cos m + sin m cos θ / sin θ."""

    @staticmethod
    def forward(ctx, cos: Tensor, m: float, beyond_pi: str) -> Tensor:
        sin = sine(cos)
        ctx.m, ctx.beyond_pi = m, beyond_pi
        ctx.save_for_backward(cos, sin)
        turned = cos * math.cos(m) - sin * math.sin(m)
        if beyond_pi == "none":
            return turned
        return torch.where(cos > -math.cos(m), turned, _past(cos, m * math.sin(m), beyond_pi))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        # Where `sine` is cut off its own gradient is 0.
        of_sine = (cos / sin).masked_fill_(sin * sin <= torch.finfo(sin.dtype).tiny, 0)
        slope = of_sine.mul_(math.sin(ctx.m)).add_(math.cos(ctx.m))
        if ctx.beyond_pi != "none":
            past = 0.0 if ctx.beyond_pi == "saturate" else 1.0
            slope.masked_fill_(cos <= -math.cos(ctx.m), past)
        return slope.mul_(gradient), None, None


def straight_through(value: Tensor, cos: Tensor) -> Tensor:
    """Return exactly `value`, with the gradient of `cos`."""
    return value.detach() + (cos - cos.detach())
