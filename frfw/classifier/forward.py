"""The forward sweep over the tiles: log-sum-exp, and the gradient's factors if they are kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from frfw.classifier.tiles import Tile


class ForwardPass:
    """Sums of the exponentials of one batch's negatives.

    Leaves in the sweep what backward needs: the largest N of every row in every tile, and the
    tiles' factors (see `TileSweep.weigh`) where the memory budget has room for them.

    Args:
        sweep: the batch, after `begin`.
    """

    def __init__(self, sweep: Any) -> None:
        self.sweep = sweep
        self.keep = sweep.plan.keep and sweep.needs_gradient
        sweep.kept = [] if self.keep else None
        sweep.largest = sweep.x.new_empty(sweep.tiling.count, len(sweep.x))

    def run(self) -> tuple[Tensor, Tensor | None]:
        """(tiles, B) sums of e^{s (N - the largest)}, and of that times N if they are wanted."""
        sweep = self.sweep
        sums = torch.empty_like(sweep.largest)
        totals = torch.empty_like(sums) if sweep.rows.total else None
        for tile in sweep.tiling:
            largest, total, with_n, factors = self._compiled(tile) or self._plain(tile)
            sweep.largest[tile.index], sums[tile.index] = largest, total
            if totals is not None:
                totals[tile.index] = with_n
            if self.keep:
                sweep.kept.append(factors)
        return sums, totals

    def _compiled(self, tile: Tile) -> tuple[Tensor, Tensor, None, Tensor | None] | None:
        """A tile in one compiled pass; None where there is none."""
        sweep, kernels = self.sweep, self.sweep.head.kernels
        if not (sweep.fuses and kernels.compiled) or sweep.seen is not None:
            return None
        raw, _, _, _, inverse = sweep.cosines(tile, raw=True)
        weights = sweep.column_weights(tile)
        found = kernels.forward(sweep.entries(tile, raw, inverse), weights, self.keep)
        return None if found is None else (found[0], found[1], None, found[2])

    def _plain(self, tile: Tile) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        sweep, out = self.sweep, None
        if self.keep:
            out = sweep.x.new_empty(len(sweep.x), (tile.stop - tile.start) * sweep.centres)
        cos, best, _, _, inverse = sweep.cosines(tile, out)
        if sweep.seen is not None:
            sweep.seen.add(cos, (tile.samples, tile.targets))
        largest, sums, totals = sweep.weigh(tile, cos, best, inverse, out, None)
        return largest, sums, totals, out
