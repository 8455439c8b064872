"""The work on a tile as compiled functions: its cosines to their sums, and its gradients.

Compiled, the whole of a formula (1 / |W|, N, its slope, the exponential, the sums of the rows)
is a few loops over a tile; plain, it is a dozen operations on blocks that fit the cache. Where one
tile holds all classes, the backward pass with its products is one function: what is not called on
its own costs nothing between two products, which leave nothing else in the caches.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from frfw.classifier import loops
from frfw.losses import Formula

Found = tuple[Tensor, Tensor, Tensor | None]  # of a tile, see `Kernels.forward`


class Entries(NamedTuple):
    """What is needed to make N of a tile's products x W.

    Attributes:
        inverse: (c,) 1 / |W|, or None where the products are the cosines.
        column: (B, 1) int32 column of each row's target, outside [0, c) if not here.
        threshold: (B, 1) of the formula.
        scale: s, or (B, 1).
    """

    inverse: Tensor | None
    column: Tensor
    threshold: Tensor
    scale: float | Tensor


class RowFactor(NamedTuple):
    """Gradient of the log-sum-exp, a tile's largest N, log-sum-exp (B,), s; `loops.row_factor`."""

    of_lse: Tensor
    largest: Tensor
    lse: Tensor
    scale: float | Tensor


class Pull(NamedTuple):
    """Gradient of x W_y (B,), each sample's own centre W_y (B, D) and its 1 / |W_y| (B,)."""

    of_product: Tensor
    own: Tensor
    own_inverse: Tensor


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
            self.normed: Callable[..., Found] = _compile(loops.normed)
            self.first: Callable[..., Found] = _compile(loops.first)
            self.again: Callable[..., Tensor] = _compile(loops.again)
            self.back: Callable[..., tuple[Tensor, Tensor, Tensor]] = _compile(loops.gradients)
            self.radial: Callable[..., None] = _compile(loops.remove_radial)

    def __getstate__(self) -> dict[str, Any]:
        # Code is compiled anew where the head is loaded.
        return {"formula": self.formula, "compiled": self.compiled}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def forward(
        self,
        raw: Tensor,
        weight: Tensor | None,
        entries: Entries,
        weights: Tensor | None,
        with_slope: bool,
    ) -> Found | None:
        """Largest N of each row of a tile, the sums of its exponentials, and its factors.

        Args:
            raw: (B, c) products x W.
            weight: (c, D) if 1 / |W| is to be worked out and written to `entries.inverse` as well.
            entries: the tile.
            weights: (c,) factor w of each column, or None.
            with_slope: also return the factors.

        Returns:
            m (B,), row sums (B,) of w e^{s (N - m)}, and w e^{s (N - m)} dN/dcos / |W| (B, c) or
            None; None if this cannot be compiled here.
        """
        loop = self.first if weight is None else partial(self.normed, weight)
        return self._try(lambda: loop(self.formula, raw, *entries, weights, with_slope))

    def factors(
        self, raw: Tensor, entries: Entries, weights: Tensor | None, reference: Tensor
    ) -> bool:
        """Put the factors that `forward` returned for m = `reference` (B,) in the products' place.

        Returns:
            Whether this could be compiled here; if not, nothing is changed.
        """
        done = self._try(
            lambda: self.again(self.formula, raw, *entries, weights, reference[:, None])
        )
        return done is not None

    def gradients(
        self,
        factors: Tensor,
        row: RowFactor,
        pull: Pull,
        x: Tensor,
        weight: Tensor,
        inverse: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Gradients of a batch whose classes are all in one tile.

        Args:
            factors: (B, C), as `forward` returned them.
            row: what they are multiplied with, a number for each row.
            pull: what each sample says of its own centre.
            x: (B, D) of unit length. weight: (C, D). inverse: (C,) 1 / |W|.

        Returns:
            Gradients of x (B, D) and of weight (C, D), and (B, D) rows to add to the latter at each
            sample's class; None if this cannot be compiled here.
        """
        return self._try(lambda: self.back(factors, *row, *pull, x, weight, inverse))

    def _try(self, kernel: Callable[[], Any]) -> Any:
        """What the kernel returns; None if it cannot be compiled."""
        if not self.compiled:
            return None
        try:
            return kernel()
        except torch.OutOfMemoryError:
            raise  # plain operations need more
        except Exception as error:
            self._give_up(error)
            return None

    def remove_radial(self, gradient: Tensor, weight: Tensor, inverse: Tensor) -> None:
        """In place: the part of each row's gradient along its centre, which moves no cosine."""
        if self._try(lambda: (self.radial(gradient, weight, inverse),)) is None:
            loops.remove_radial(gradient, weight, inverse)

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
