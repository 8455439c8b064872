"""The elementwise work on a block of cosines, in place, while it is in the cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from frfw.classifier.loops import NEVER
from frfw.classifier.statistics import slope_of
from frfw.classifier.tiles import Block
from frfw.losses import Formula


@dataclass
class Rows:
    """What the negatives' part of the loss needs of each row.

    Attributes:
        threshold: (B, 1) negatives above it are hard.
        scale: s, or (B, 1).
        total: whether sums of N are wanted (the scale has a gradient).
    """

    threshold: Tensor
    scale: float | Tensor
    total: bool

    @property
    def flat_scale(self) -> float | Tensor:
        """s, or (B,)."""
        return self.scale[:, 0] if isinstance(self.scale, Tensor) else self.scale


def exponentials(
    formula: Formula,
    cos: Tensor,
    rows: Rows,
    block: Block,
    weights: Tensor | None,
    reference: Tensor | None,
    with_slope: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Turn a block of cosines into w e^{s (N - m)} dN/dcos in place, with the sums of its rows.

    Args:
        cos: (b, c) cosines; overwritten, with a meaning only if `with_slope`.
        block: which rows of `rows` these are, and which entries are targets: they do not count.
        weights: (c,) how many classes each column stands for; None: one.
        reference: (b, 1) m; None: the largest N of each row.
        with_slope: leave the gradient's factors in `cos`.

    Returns:
        m (b, 1), row sums of w e^{s (N - m)} (b,), row sums of that times N or None.
    """
    part, own = block.rows, block.own
    threshold = rows.threshold[part]
    scale = rows.scale[part] if isinstance(rows.scale, Tensor) else rows.scale
    slope = slope_of(formula, cos, threshold) if with_slope else None
    value = cos if formula.identity_negatives else formula.negatives(cos, threshold)
    if own is not None:
        value[own] = NEVER  # and so never the largest, whatever N the formula gives it
    if reference is None:
        reference = value.amax(1, keepdim=True)
    # e^{s N - s m} in one pass before the exponential; N is kept only if its sum is wanted.
    out = None if rows.total else value
    if isinstance(scale, Tensor):
        weight = torch.addcmul(-scale * reference, value, scale, out=out)
    else:
        weight = torch.add(reference * -scale, value, alpha=scale, out=out)
    weight.exp_()
    if own is not None:
        weight[own] = 0.0
    if weights is not None:
        weight.mul_(weights)
    total = (weight * value).sum(1) if rows.total else None
    sums = weight.sum(1)
    if with_slope:
        if slope is not None:
            torch.mul(weight, slope, out=cos)
        elif weight is not cos:
            cos.copy_(weight)
        if own is not None:
            cos[own] = 0.0  # its slope may be anything, also infinite
    return reference, sums, total
