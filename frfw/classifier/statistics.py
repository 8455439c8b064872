"""What the negatives did in a step, summed tile by tile without leaving the device."""

from __future__ import annotations

import torch
from torch import Tensor

from frfw.classifier.exchange import Exchange


def slope_of(formula, cos: Tensor, threshold: Tensor) -> Tensor | None:
    """dN/dcos of a (b, c) tile: the formula's closed form, or autograd. None: N is the cosine.

    Args:
        cos: (b, c) cosines.
        threshold: (b, 1).
    """
    if formula.identity_negatives:
        return None
    slope = formula.negatives_slope(cos, threshold)
    if slope is None:
        with torch.enable_grad():
            leaf = cos.detach().requires_grad_()
            value = formula.negatives(leaf, threshold)
            (slope,) = torch.autograd.grad(value.sum(), leaf)
    return slope


class TileStatistics:
    """Running figures over the tiles of one batch.

    Args:
        formula: gives N and its slope.
        threshold: (b,) negatives above it are hard.
    """

    def __init__(self, formula, threshold: Tensor) -> None:
        self.formula, self.threshold = formula, threshold.detach()[:, None]
        low = torch.full_like(self.threshold[:, 0], -torch.inf)
        self.max_cos, self.max_n = low, low.clone()
        self.hard, self.seen = torch.zeros_like(low), torch.zeros_like(low)
        self.slope_sum = low.new_zeros(())
        self.slope_min, self.slope_max = low.new_full((), torch.inf), low.new_full((), -torch.inf)

    def add(self, cos: Tensor, own: tuple[Tensor, Tensor]) -> None:
        """Take in a (b, c) tile; `own` indexes its entries that are targets (rows, columns)."""
        if len(cos) == 0:
            return
        values = cos if self.formula.identity_negatives else None
        if values is None:
            values = self.formula.negatives(cos, self.threshold)
        others = torch.ones_like(cos, dtype=torch.bool)
        others[own] = False
        hard = (cos > self.threshold) & others
        self.max_cos = torch.maximum(self.max_cos, _row_max(cos, others))
        self.max_n = torch.maximum(self.max_n, _row_max(values, others))
        self.hard += hard.sum(1)
        self.seen += others.sum(1)
        slope = slope_of(self.formula, cos, self.threshold)
        slope = torch.ones_like(cos) if slope is None else slope
        self.slope_sum += torch.where(hard, slope, 0.0).sum()
        low, high = torch.where(hard, slope, torch.inf), torch.where(hard, slope, -torch.inf)
        self.slope_min = torch.minimum(self.slope_min, low.min())
        self.slope_max = torch.maximum(self.slope_max, high.max())

    def reduce(self, exchange: Exchange) -> None:
        """Join the figures of processes that saw different classes."""
        for value in (self.max_cos, self.max_n, self.slope_max):
            exchange.extreme_(value, largest=True)
        exchange.extreme_(self.slope_min, largest=False)
        for value in (self.hard, self.seen, self.slope_sum):
            exchange.sum_(value)

    def fields(self, target_cos: Tensor, target: Tensor, own=None) -> dict[str, object]:
        """The optional fields of `HeadOutput`; `own` picks this process's rows."""
        pick = own if own is not None else (lambda rows: rows)
        count, any_hard = self.hard.sum(), self.hard.sum() > 0
        one = torch.ones_like(self.slope_sum)
        modulation = {
            "mean": torch.where(any_hard, self.slope_sum / count.clamp_min(1), one),
            "min": torch.where(any_hard, self.slope_min, one),
            "max": torch.where(any_hard, self.slope_max, one),
        }
        return {
            "max_negative_cos": pick(self.max_cos),
            "hard_share": pick(self.hard / self.seen.clamp_min(1)),
            "correct": target_cos > pick(self.max_cos),
            "correct_margin": target > pick(self.max_n),
            "modulation": modulation,
        }


def _row_max(values: Tensor, others: Tensor) -> Tensor:
    return torch.where(others, values, -torch.inf).amax(1)
