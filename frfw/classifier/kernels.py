"""The elementwise work on a tile of cosines, as one compiled pass or as plain operations.

Compiled, the whole of a formula (1 / |W|, N, its slope, the exponential, the sums of the rows)
is two loops over a tile; plain, it is a dozen operations on blocks that fit the cache.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from frfw.losses import Formula

_NEVER = -1e30  # stands for a target among the negatives: e^{s (this - m)} is 0


class Kernels:
    """A formula's compiled loops.

    A kernel that cannot be compiled (no C++ compiler, for example) is said so once, as a warning,
    and plain operations do the work; the results are the same to rounding.

    Args:
        formula: with a closed form of dN/dcos; others are not compiled.
        compiled: whether to compile at all.
    """

    def __init__(self, formula: Formula, compiled: bool) -> None:
        self.formula = formula
        self.compiled = compiled and _has_slope(formula)
        if self.compiled:
            # Two loops, not one: the largest of a row is needed before its exponentials.
            self.row_largest: Callable[..., Tensor] = _compile(_row_largest)
            self.exponentials: Callable[..., Tensor] = _compile(_exponentials)
            self.radial: Callable[..., None] = _compile(_remove_radial)

    def tile(
        self,
        raw: Tensor,
        inverse: Tensor | None,
        column: Tensor,
        threshold: Tensor,
        scale: float | Tensor,
        weights: Tensor | None,
        reference: Tensor | None,
        with_slope: bool,
    ) -> tuple[Tensor, Tensor] | None:
        """Turn a tile of products x W into factors of the gradient, in place, with row sums.

        Args:
            raw: (B, c) products; with `with_slope` overwritten by w e^{s (N - m)} dN/dcos / |W|.
            inverse: (c,) 1 / |W|, or None where `raw` is the cosine.
            column: (B, 1) int32 column of each row's target, outside [0, c) if not here.
            threshold: (B, 1) of the formula.
            scale: s, or (B, 1).
            weights: (c,) factor w of each column, or None.
            reference: (B, 1) m, or None: each row's largest N.

        Returns:
            m (B, 1) and row sums (B,) of w e^{s (N - m)}; None if this cannot be compiled here.
        """
        if not self.compiled:
            return None
        try:
            if reference is None:
                reference = self.row_largest(self.formula, raw, inverse, column, threshold)
            sums = self.exponentials(
                self.formula, raw, inverse, column, threshold, scale, weights, reference, with_slope
            )
        except Exception as error:
            self._give_up(error)
            return None
        return reference, sums

    def remove_radial(self, gradient: Tensor, weight: Tensor, inverse: Tensor) -> None:
        """In place: the part of each row's gradient along its centre, which moves no cosine."""
        if self.compiled:
            try:
                self.radial(gradient, weight, inverse)
                return
            except Exception as error:
                self._give_up(error)
        _remove_radial(gradient, weight, inverse)

    def _give_up(self, error: Exception) -> None:
        # A formula's own mistakes show again, as themselves, in the plain operations.
        self.compiled = False
        reason = str(error).strip().splitlines()[:1]
        warnings.warn(
            f"classifier.compile: {type(error).__name__}: {''.join(reason)[:200]}; the tiles are "
            "worked on by plain operations instead (slower, same results)",
            stacklevel=2,
        )


def _compile(function: Callable) -> Callable:
    # A copy of the code, because torch counts the variants compiled of one code object and stops
    # at eight: heads of a sweep in one process would use them up.
    copy = types.FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
    return torch.compile(copy, dynamic=True)


def _has_slope(formula: Formula) -> bool:
    probe = torch.zeros(1, 1)
    if formula.identity_negatives:
        return True
    with torch.no_grad():
        return formula.negatives_slope(probe, probe) is not None


def _negatives(formula, raw, inverse, column, threshold):
    cos = raw if inverse is None else raw * inverse
    own = torch.arange(raw.shape[1], device=raw.device, dtype=torch.int32) == column
    value = cos if formula.identity_negatives else formula.negatives(cos, threshold)
    return cos, torch.where(own, _NEVER, value)


def _row_largest(formula, raw, inverse, column, threshold):
    return _negatives(formula, raw, inverse, column, threshold)[1].amax(1, keepdim=True)


def _exponentials(
    formula, raw, inverse, column, threshold, scale, weights, reference, with_slope: bool
):
    cos, value = _negatives(formula, raw, inverse, column, threshold)
    weight = torch.exp(scale * (value - reference))
    if weights is not None:
        weight = weight * weights
    sums = weight.sum(1)
    if with_slope:
        if not formula.identity_negatives:
            weight = weight * formula.negatives_slope(cos, threshold)
        if inverse is not None:
            weight = weight * inverse
        raw.copy_(weight)
    return sums


def _remove_radial(gradient: Tensor, weight: Tensor, inverse: Tensor) -> None:
    radial = (gradient * weight).sum(1) * inverse.square()
    gradient.addcmul_(weight, radial[:, None], value=-1)
