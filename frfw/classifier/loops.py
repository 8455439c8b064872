"""A tile's work as plain functions of tensors, written so that torch.compile makes few loops of it.

`Kernels` compiles and calls them, and says what their arguments are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from frfw.losses import Formula

NEVER = -1e30  # stands for a target among the negatives: e^{s (this - m)} is 0


def normed(
    weight: Tensor,
    formula: Formula,
    raw: Tensor,
    inverse: Tensor,
    column: Tensor,
    threshold: Tensor,
    scale: float | Tensor,
    weights: Tensor | None,
    with_slope: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """`first`, with 1 / |W| worked out and written to `inverse`."""
    made = torch.linalg.vector_norm(weight, dim=1).clamp_min(1e-12).reciprocal()
    inverse.copy_(made)
    # A view with strides must be of something in memory: otherwise the compiler would work the root
    # and the reciprocal out again for each of the tile's entries, twice.
    made = torch.as_strided(made, made.shape, (1,))
    return first(formula, raw, made, column, threshold, scale, weights, with_slope)


def _negatives(
    formula: Formula, raw: Tensor, inverse: Tensor | None, column: Tensor, threshold: Tensor
) -> tuple[Tensor, Tensor]:
    cos = raw if inverse is None else raw * inverse
    own = torch.arange(raw.shape[1], device=raw.device, dtype=torch.int32) == column
    value = cos if formula.identity_negatives else formula.negatives(cos, threshold)
    return cos, torch.where(own, NEVER, value)


def first(
    formula: Formula,
    raw: Tensor,
    inverse: Tensor | None,
    column: Tensor,
    threshold: Tensor,
    scale: float | Tensor,
    weights: Tensor | None,
    with_slope: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Largest N of each row, sums of the exponentials, factors of the gradient or None."""
    # The factors are a tensor of their own, not written over `raw`, and nothing more is made of the
    # sums: only then does the compiler go over a row of both loops, the largest and the
    # exponentials, while it is in the cache.
    cos, value = _negatives(formula, raw, inverse, column, threshold)
    largest = value.amax(1, keepdim=True)
    weight, factors = _weigh(
        formula, cos, value, inverse, threshold, scale, weights, largest, with_slope
    )
    return largest[:, 0], weight.sum(1), factors


def again(
    formula: Formula,
    raw: Tensor,
    inverse: Tensor | None,
    column: Tensor,
    threshold: Tensor,
    scale: float | Tensor,
    weights: Tensor | None,
    reference: Tensor,
) -> Tensor:
    """The factors once more, for a known largest N, written over `raw`."""
    cos, value = _negatives(formula, raw, inverse, column, threshold)
    raw.copy_(_weigh(formula, cos, value, inverse, threshold, scale, weights, reference, True)[1])
    return raw


def _weigh(
    formula: Formula,
    cos: Tensor,
    value: Tensor,
    inverse: Tensor | None,
    threshold: Tensor,
    scale: float | Tensor,
    weights: Tensor | None,
    reference: Tensor,
    with_slope: bool,
) -> tuple[Tensor, Tensor | None]:
    weight = torch.exp(scale * (value - reference))
    if weights is not None:
        weight = weight * weights
    if not with_slope:
        return weight, None
    factors = weight
    if not formula.identity_negatives:
        factors = factors * formula.negatives_slope(cos, threshold)
    if inverse is not None:
        factors = factors * inverse
    return weight, factors


def gradients(
    factors: Tensor,
    of_lse: Tensor,
    largest: Tensor,
    lse: Tensor,
    scale: float | Tensor,
    of_product: Tensor,
    own: Tensor,
    own_inverse: Tensor,
    x: Tensor,
    weight: Tensor,
    inverse: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x and of the weight, and what each sample adds to the latter at its class."""
    row = row_factor(of_lse, largest, lse, scale)[:, None]
    of_x = torch.mm(factors, weight) * row + of_product[:, None] * own
    gradient = torch.mm(factors.T, x * row)
    remove_radial(gradient, weight, inverse)
    pull = x * of_product[:, None]
    along = (pull * own).sum(1) * own_inverse.square()
    return of_x, gradient, pull - own * along[:, None]


def row_factor(of_lse: Tensor, largest: Tensor, lse: Tensor, scale: float | Tensor) -> Tensor:
    """(B,) what a tile's factors, which count from its largest N, are multiplied with."""
    # At most 0 but for rounding; a row without any negative has a gradient of 0, not 0 * inf.
    shift = (largest * scale - lse).clamp_max(1.0)
    return of_lse * scale * shift.exp()


def remove_radial(gradient: Tensor, weight: Tensor, inverse: Tensor) -> None:
    """In place: take off what lies along each centre."""
    radial = (gradient * weight).sum(1) * inverse.square()
    gradient.addcmul_(weight, radial[:, None], value=-1)
