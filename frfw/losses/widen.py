"""Float32 at least: embeddings with a gradient that fits back, losses and their state."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

NARROW = (torch.float16, torch.bfloat16)
Forward = TypeVar("Forward", bound=Callable)


def without_autocast(forward: Forward) -> Forward:
    """Method decorator: run `forward(self, embeddings, ...)` in the types of its tensors."""

    @functools.wraps(forward)
    def run(self, embeddings: Tensor, *args, **kwargs):
        with torch.autocast(embeddings.device.type, enabled=False):
            return forward(self, embeddings, *args, **kwargs)

    return run


def keep_wide(convert: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Wrap what `Module._apply` is given, so that `.half()` moves a state and leaves its type."""

    def converted(state: Tensor) -> Tensor:
        moved = convert(state)
        return state.to(moved.device) if moved.dtype in NARROW else moved

    return converted


def widen(embeddings: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (B, D) embeddings as `dtype`; the gradient of a row is made to fit into their own.

    The gradient of a normalised embedding grows with 1 / norm: for a norm of 1e-6 it may be beyond
    float16, whose largest number is 65,504, though it is finite in float32. Casting it would give
    infinity. A row with such a gradient is scaled down instead, as a whole, so that its direction
    stays and its largest entry is 65,504. What is not finite in float32 stays so, for a gradient
    scaler or guard to see. Other rows, and bfloat16, are as a plain cast gives them.
    """
    if embeddings.dtype not in NARROW:
        return embeddings.to(dtype)
    return _Widen.apply(embeddings, dtype)


class _Widen(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.narrow = x.dtype
        return x.to(dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        largest = gradient.abs().amax(-1, keepdim=True)
        fitting = (torch.finfo(ctx.narrow).max / largest).clamp_max(1)
        return (gradient * fitting).to(ctx.narrow), None
