"""Embeddings of unit length, with their norms."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_ZERO = 1e-12  # a norm below has no direction


def unit_length(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x / |x| (B, D) and |x| (B,), both with their gradient.

    A zero embedding has no direction to turn: it stays zero, so that all its cosines are 0, and
    gets no gradient.

    Args:
        x: (B, D) embeddings, float32 or float64.
    """
    return _UnitLength.apply(x)


class _UnitLength(torch.autograd.Function):
    """One node instead of a dozen: every step of training goes through it."""

    @staticmethod
    def forward(ctx, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        norm = torch.linalg.vector_norm(x, dim=1)
        inverse = norm.reciprocal().masked_fill_(norm < _ZERO, 0)[:, None]
        unit = x * inverse
        ctx.save_for_backward(unit, inverse)
        return unit, norm

    @staticmethod
    @once_differentiable
    def backward(ctx, of_unit: Tensor | None, of_norm: Tensor | None) -> Tensor | None:
        unit, inverse = ctx.saved_tensors
        gradient = None
        if of_unit is not None:
            # What points along x moves no cosine: (I - u u^T) g / |x|.
            along = (unit * of_unit).sum(1, keepdim=True)
            gradient = torch.addcmul(of_unit, unit, along, value=-1).mul_(inverse)
        if of_norm is not None:
            of_length = unit * of_norm[:, None]
            gradient = of_length if gradient is None else gradient.add_(of_length)
        return gradient
