"""The backward sweep over the tiles: gradients, or the update of the weight."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from frfw.classifier.kernels import Pull, RowFactor
from frfw.classifier.loops import row_factor
from frfw.classifier.tiles import Tile


class BackwardPass:
    """Gradients of one batch, from those of its target cosines and log-sum-exps.

    Args:
        sweep: the forward pass.
        of_cosine: (B,) gradient of every sample's target cosine.
        of_lse: (B,) gradient of every sample's log-sum-exp.
    """

    def __init__(self, sweep: Any, of_cosine: Tensor, of_lse: Tensor) -> None:
        self.sweep, self.head = sweep, sweep.head
        # Every process's loss counts 1 / world in the global one. The embeddings' gradient is
        # averaged over processes afterwards, with the backbone's; a shard's own is final.
        share = 1 / sweep.exchange.world if sweep.spread else 1.0
        self.share, self.of_lse = share, of_lse
        self.of_target = of_cosine
        if sweep.spread:
            self.of_target = torch.where(sweep.local >= 0, of_cosine, 0.0)
        if sweep.target_inverse is not None:
            self.of_target = self.of_target * sweep.target_inverse
        self.update = sweep.update
        if self.update is not None:  # a batch that is not finite must not move the weight
            self.finite = torch.isfinite(of_cosine.sum() + of_lse.sum() + sweep.x.sum())
        self.wanted = self.head.weight.requires_grad
        self.of_bias: Tensor | None = None
        if sweep.linear and self.head.bias.requires_grad:
            self.of_bias = sweep.x.new_empty(sweep.classes)

    def run(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return gradients of x (this process's rows), weight and bias (None: not wanted)."""
        done = self._at_once()
        if done is not None:
            return done
        self._begin()
        for tile in self.sweep.tiling:
            self._tile(tile)
        self.sweep.kept = None
        weight = self.of_weight
        if weight is not None and self.sweep.active is not None:
            shape = self.head.weight.shape
            weight = self.sweep.active.gradient(weight, shape)
        return self.sweep.total_own(self.of_x), weight, self.of_bias

    def _at_once(self) -> tuple[Tensor, Tensor, None] | None:
        """The same in one compiled call, for one tile whose factors were kept; None otherwise."""
        sweep, kernels = self.sweep, self.head.kernels
        plain = sweep.tiling.single and sweep.active is None and not sweep.products.rounds
        kept = sweep.fuses and sweep.kept is not None and sweep.inverse is not None
        if not (plain and kept and kernels.compiled and self.wanted and self.update is None):
            return None
        row = RowFactor(self.of_lse, sweep.largest[0], sweep.lse, sweep.rows.flat_scale)
        pull = Pull(self.of_target, sweep.target_weight, sweep.target_inverse)
        found = kernels.gradients(sweep.kept[0], row, pull, sweep.x, sweep.weight, sweep.inverse)
        if found is None:
            return None
        of_x, of_weight, pulls = found
        sweep.kept = None
        return of_x, of_weight.index_add_(0, sweep.target_row, pulls), None

    def _begin(self) -> None:
        sweep, share = self.sweep, self.share
        self.of_x = self.of_target[:, None] * sweep.target_weight
        self.of_weight = None
        if self.wanted and self.update is None:
            rows = sweep.classes * sweep.centres
            self.of_weight = sweep.x.new_empty(rows, sweep.x.shape[1])
        if self.wanted:  # what each sample says of its own centre
            pull = self.of_target * share if share != 1.0 else self.of_target
            self.pull = sweep.x * pull[:, None]

    def _tile(self, tile: Tile) -> None:
        sweep, rounds = self.sweep, self.sweep.products.rounds
        factors, row, weight, operand, inverse = self._factors(tile)
        g = sweep.products.operand(factors)
        self.of_x.addcmul_(sweep.products.mm(g, operand), row)
        if self.of_bias is not None:
            bias = torch.mv(factors.T, row[:, 0])
            bias.index_add_(0, tile.targets, self.of_target[tile.samples])
            self.of_bias[tile.start : tile.stop] = bias * self.share
        if not self.wanted:
            return
        # In half precision small numbers are lost: the largest factor is put back afterwards.
        unit: float | Tensor = 1.0
        if rounds and len(row):
            unit = row.abs().max().clamp_min(torch.finfo(row.dtype).tiny)
        factor = row * (self.share / unit) if rounds or self.share != 1.0 else row
        x = sweep.products.operand(sweep.x * factor)
        low, high = (edge * sweep.centres for edge in (tile.start, tile.stop))
        out = None if self.of_weight is None else self.of_weight[low:high]
        gradient = sweep.products.mm(g.T, x, out=out)
        if rounds:
            gradient *= unit if inverse is None else (inverse * unit)[:, None]
        self._add_targets(tile, gradient)
        if inverse is not None:
            self.head.kernels.remove_radial(gradient, weight, inverse)
        if self.update is not None:
            held = self.head.weight
            self.update.apply(held, low, high, gradient, sweep.active, self.finite)

    def _factors(self, tile: Tile) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Entries (B, c * K) and one factor a row (B, 1) whose product is G / |W|."""
        sweep, rows = self.sweep, self.sweep.rows
        largest = sweep.largest[tile.index]
        row = row_factor(self.of_lse, largest, sweep.lse, rows.flat_scale)[:, None]
        if sweep.kept is not None:
            weight, operand, inverse = sweep.prepare(tile, first=False)
            return sweep.kept[tile.index], row, weight, operand, inverse
        kernels = self.head.kernels
        raw = sweep.fuses and kernels.compiled
        cos, best, weight, operand, inverse = sweep.cosines(tile, first=False, raw=raw)
        if raw:
            entries, weights = sweep.entries(tile, inverse), sweep.column_weights(tile)
            if kernels.factors(cos, entries, weights, largest):
                return cos, row, weight, operand, inverse
            if entries.inverse is not None:
                cos *= inverse
        out = cos if best is None else sweep.buffer(cos.shape[1] * sweep.centres)
        sweep.weigh(tile, cos, best, inverse, out, largest)
        return out, row, weight, operand, inverse

    def _add_targets(self, tile: Tile, gradient: Tensor) -> None:
        """Add what the samples whose class is in this tile say of their own centre."""
        if len(tile.samples) == 0:
            return
        rows, pull = self.sweep.target_row, self.pull
        if not self.sweep.tiling.single:
            rows = rows[tile.samples] - tile.start * self.sweep.centres
            pull = pull[tile.samples]
        gradient.index_add_(0, rows, pull)
