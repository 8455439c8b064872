"""The elementwise work on a tile of cosines, as one compiled pass or as plain operations.

Compiled, the whole of a formula (1 / |W|, N, its slope, the exponential, the sums of the rows)
is two loops over a tile; plain, it is a dozen operations on blocks that fit the cache.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from frfw.losses import Formula

_NEVER = -1e30  # stands for a target among the negatives: e^{s (this - m)} is 0


class Entries(NamedTuple):
    """A tile's products and what is needed to make N of them.

    Attributes:
        raw: (B, c) products x W.
        inverse: (c,) 1 / |W|, or None where `raw` is the cosine.
        column: (B, 1) int32 column of each row's target, outside [0, c) if not here.
        threshold: (B, 1) of the formula.
        scale: s, or (B, 1).
    """

    raw: Tensor
    inverse: Tensor | None
    column: Tensor
    threshold: Tensor
    scale: float | Tensor


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
            self.first: Callable[..., tuple[Tensor, Tensor, Tensor | None]] = _compile(_first)
            self.again: Callable[..., Tensor] = _compile(_again)
            self.radial: Callable[..., None] = _compile(_remove_radial)

    def forward(
        self, entries: Entries, weights: Tensor | None, with_slope: bool
    ) -> tuple[Tensor, Tensor, Tensor | None] | None:
        """Largest N of each row of a tile, the sums of its exponentials, and its factors.

        Args:
            entries: the tile; its products x W are not changed.
            weights: (c,) factor w of each column, or None.
            with_slope: also return the factors.

        Returns:
            m (B,), row sums (B,) of w e^{s (N - m)}, and w e^{s (N - m)} dN/dcos / |W| (B, c) or
            None; None if this cannot be compiled here.
        """
        return self._try(lambda: self.first(self.formula, *entries, weights, with_slope))

    def factors(self, entries: Entries, weights: Tensor | None, reference: Tensor) -> bool:
        """Put the factors that `forward` returned for m = `reference` (B,) in the products' place.

        Returns:
            Whether this could be compiled here; if not, nothing is changed.
        """
        done = self._try(lambda: self.again(self.formula, *entries, weights, reference[:, None]))
        return done is not None

    def _try(self, kernel: Callable[[], Any]) -> Any:
        """What the kernel returns; None if it cannot be compiled."""
        if not self.compiled:
            return None
        try:
            return kernel()
        except Exception as error:
            self._give_up(error)
            return None

    def remove_radial(self, gradient: Tensor, weight: Tensor, inverse: Tensor) -> None:
        """In place: the part of each row's gradient along its centre, which moves no cosine."""
        if self._try(lambda: (self.radial(gradient, weight, inverse),)) is None:
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


def _first(formula, raw, inverse, column, threshold, scale, weights, with_slope: bool):
    # The factors are a tensor of their own, not written over `raw`: only then does the compiler
    # go over a row of both loops, the largest and the exponentials, while it is in the cache.
    cos, value = _negatives(formula, raw, inverse, column, threshold)
    largest = value.amax(1, keepdim=True)
    weight, factors = _weigh(
        formula, cos, value, inverse, threshold, scale, weights, largest, with_slope
    )
    return largest[:, 0], weight.sum(1), factors


def _again(formula, raw, inverse, column, threshold, scale, weights, reference):
    cos, value = _negatives(formula, raw, inverse, column, threshold)
    raw.copy_(_weigh(formula, cos, value, inverse, threshold, scale, weights, reference, True)[1])
    return raw


def _weigh(formula, cos, value, inverse, threshold, scale, weights, reference, with_slope: bool):
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


def _remove_radial(gradient: Tensor, weight: Tensor, inverse: Tensor) -> None:
    radial = (gradient * weight).sum(1) * inverse.square()
    gradient.addcmul_(weight, radial[:, None], value=-1)
