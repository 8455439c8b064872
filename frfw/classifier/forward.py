"""The forward sweep over the tiles: log-sum-exp, and the gradient's factors if they are kept."""

from __future__ import annotations

from typing import Any

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

    def run(self) -> tuple[Tensor, Tensor | None]:
        """(tiles, B) log-sum-exps of s N, and sums of e^{s (N - the largest)} N if wanted."""
        sweep, count = self.sweep, self.sweep.tiling.count
        rows: list[Tensor | None] = [None, None, None]
        for tile in sweep.tiling:
            *found, factors = self._compiled(tile) or self._plain(tile)
            if self.keep:
                sweep.kept.append(factors)
            for place, row in enumerate(found):
                if count == 1 or row is None:
                    rows[place] = row if row is None else row[None]
                    continue
                # One tensor for all tiles: small ones of their own, between a tile's large passing
                # ones, would keep the allocator from using that memory again for the next tile.
                if rows[place] is None:
                    rows[place] = row.new_empty(count, len(row))
                rows[place][tile.index] = row
        sweep.largest, lse, totals = rows
        return lse, totals

    def _compiled(self, tile: Tile) -> tuple[Tensor, Tensor, None, Tensor | None] | None:
        """A tile in one compiled pass; None where there is none."""
        sweep, kernels = self.sweep, self.sweep.head.kernels
        if not (sweep.fuses and kernels.compiled) or sweep.seen is not None:
            return None
        weights = sweep.column_weights(tile)
        weight = None  # its norms are worked out where they are needed first
        if sweep.products.rounds or sweep.linear:
            raw, _, _, _, inverse = sweep.cosines(tile, raw=True)
        else:
            raw, _, weight, _, inverse = sweep.cosines(tile, first=False, raw=True)
        found = kernels.forward(raw, weight, sweep.entries(tile, inverse), weights, self.keep)
        if found is None:
            return None
        largest, sums, factors = found
        return largest, sweep.log_of(sums, largest), None, factors

    def _plain(self, tile: Tile) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        sweep, out = self.sweep, None
        if self.keep:
            out = sweep.x.new_empty(len(sweep.x), (tile.stop - tile.start) * sweep.centres)
        cos, best, _, _, inverse = sweep.cosines(tile, out)
        if sweep.seen is not None:
            sweep.seen.add(cos, (tile.samples, tile.targets))
        largest, sums, totals = sweep.weigh(tile, cos, best, inverse, out, None)
        return largest, sweep.log_of(sums, largest), totals, out
