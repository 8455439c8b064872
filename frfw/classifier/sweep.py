"""One batch's passes over the tiles: the arithmetic behind `TiledSoftmax`, without autograd."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from frfw.classifier.backward import BackwardPass
from frfw.classifier.block import Rows, exponentials
from frfw.classifier.forward import ForwardPass
from frfw.classifier.kernels import Entries
from frfw.classifier.products import Products
from frfw.classifier.statistics import TileStatistics
from frfw.classifier.tiles import Tile, Tiling, plan_tiles


class TileSweep:
    """The tiles of one batch: cosines, log-sum-exp, gradients.

    With a head spread over processes (`spread`), rows are those of the global batch and classes
    those held here; what is returned is of this process's rows.

    Args:
        head: the classifier: its weight, formula, settings and exchange.
        x, labels, sizes: as in `TiledSoftmax`.
    """

    def __init__(self, head: Any, x: Tensor, labels: Tensor, sizes: list[int]) -> None:
        self.head, self.formula, self.exchange = head, head.formula, head.exchange
        self.sizes, self.spread = sizes, head.sharded and head.exchange.world > 1
        self.centres = self.formula.sub_centers
        self.linear = self.formula.geometry == "linear"
        self.weight, self.bias = head.weight.detach(), head.bias
        self.products = Products(head.settings.precision, x.dtype, x.device)
        self.x = self.gather(x.detach())
        self.x_operand = self.products.operand(self.x)
        everyone = self.gather(labels)
        self.active = head.sample(everyone)  # None: every class held here
        self.local = self._positions(everyone)
        held = len(self.weight) // self.centres
        self.classes = held if self.active is None else len(self.active.classes)
        plan = plan_tiles(
            len(self.x),
            self.classes,
            self.centres,
            x.element_size(),
            x.is_cuda,
            head.settings.memory_budget,
            head.kernels.compiled,
            self.x.shape[1],
        )
        self.plan = plan
        self.tiling = Tiling(plan, self.classes, self.local, everywhere=not self.spread)
        wanted = any(t.requires_grad for t in (x, head.weight))
        self.needs_gradient = wanted and torch.is_grad_enabled()
        self.update = head.fused if head.training else None
        self.of_lse: Tensor | None = None
        self.kept: list[Tensor] | None = None  # each tile's factors, from forward to backward
        self.inverse = None if self.linear else self.x.new_empty(self.classes * self.centres)
        self._scratch: Tensor | None = None

    def gather(self, own: Tensor) -> Tensor:
        """Rows of all processes, where the head is spread over them."""
        return self.exchange.rows(own.detach(), self.sizes) if self.spread else own.detach()

    def own(self, rows: Tensor) -> Tensor:
        """This process's rows of gathered ones."""
        return self.exchange.own(rows, self.sizes) if self.spread else rows

    def total_own(self, rows: Tensor) -> Tensor:
        """Sum rows over processes that hold different classes; this process's rows of it."""
        return self.own(self.exchange.sum_(rows.contiguous())) if self.spread else rows

    def _positions(self, labels: Tensor) -> Tensor:
        """Where each sample's class is among those computed here, or -1."""
        start, stop = self.head.class_range
        here = (labels >= start) & (labels < stop) if self.spread else None
        local = labels if here is None else torch.where(here, labels - start, 0)
        if self.active is not None:
            local = torch.searchsorted(self.active.classes, local)
        return local if here is None else torch.where(here, local, -1)

    # Weights and cosines of a tile

    def weight_rows(self, tile: Tile) -> Tensor:
        """(c * K, D) weights of a tile: a view, or a copy where classes were sampled."""
        low, high = tile.start * self.centres, tile.stop * self.centres
        if self.active is None:
            return self.weight[low:high]
        return self.weight.index_select(0, self.active.rows[low:high])

    def prepare(self, tile: Tile, first: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """A tile's weights, the operand made of them, and 1 / |W| (c * K,), None if linear.

        Operands that lose digits are normalised before they are rounded.
        """
        weight = self.weight_rows(tile)
        if self.linear:
            return weight, self.products.operand(weight), None
        inverse = self.inverse[tile.start * self.centres : tile.stop * self.centres]
        if first:
            norm = torch.linalg.vector_norm(weight, dim=1).clamp_min_(1e-12)
            torch.reciprocal(norm, out=inverse)
        scaled = weight * inverse[:, None] if self.products.rounds else weight
        return weight, self.products.operand(scaled), inverse

    def buffer(self, columns: int) -> Tensor:
        """Scratch space for a tile's cosines, (B, columns)."""
        if self._scratch is None:
            self._scratch = self.x.new_empty(len(self.x) * self.plan.classes * self.centres)
        return self._scratch[: len(self.x) * columns].view(len(self.x), columns)

    def cosines(
        self, tile: Tile, out: Tensor | None = None, first: bool = True, raw: bool = False
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor, Tensor | None]:
        """Cosines (B, c) of a tile, which sub-centre gave them (K > 1), and `prepare`'s results.

        With `raw`, the products x W: a compiled kernel divides by |W| itself.
        """
        weight, operand, inverse = self.prepare(tile, first)
        out = self.buffer(len(weight)) if out is None else out
        self.products.mm(self.x_operand, operand.T, out=out)
        if self.linear:
            out += self.bias.detach()[tile.start : tile.stop]
        elif not self.products.rounds and not raw:
            out *= inverse
        best = None
        if self.centres > 1:
            cos, best = self._by_class(out).max(2)
            return cos, best, weight, operand, inverse
        return out, best, weight, operand, inverse

    def _by_class(self, values: Tensor) -> Tensor:
        """(B, c * K) as (B, c, K)."""
        return values.view(len(values), values.shape[1] // self.centres, self.centres)

    def target_cosines(self) -> Tensor:
        """(B,) cosine of this process's samples to their own centres, in full precision."""
        place = self.local.clamp_min(0) if self.spread else self.local
        held = place if self.active is None else self.active.classes[place]
        if self.centres == 1:
            best, centres = None, self.weight.index_select(0, held)  # (B, D)
            cos, inverse = self._own_cosine(self.x, centres, held)
        else:
            rows = held[:, None] * self.centres + torch.arange(self.centres, device=held.device)
            every = self.weight[rows]  # (B, K, D)
            cos, inverse = self._own_cosine(self.x[:, None], every, held[:, None])
            cos, best = cos.max(1)
            pick = torch.arange(len(best), device=best.device)
            centres = every[pick, best]
            inverse = None if inverse is None else inverse[pick, best]
        self.target_weight, self.target_inverse = centres, inverse
        self.target_row = self.local if best is None else self.local * self.centres + best
        return self.total_own(torch.where(self.local >= 0, cos, 0.0)) if self.spread else cos

    def _own_cosine(self, x: Tensor, centres: Tensor, held: Tensor) -> tuple[Tensor, Tensor | None]:
        """Cosines of embeddings and centres (..., D), and 1 / |W|, None if linear."""
        cos = (x * centres).sum(-1)
        if self.linear:
            return cos + self.bias.detach()[held], None
        inverse = torch.linalg.vector_norm(centres, dim=-1).clamp_min_(1e-12).reciprocal_()
        return cos * inverse, inverse

    # Forward

    def begin(
        self,
        threshold: Tensor,
        scale: float | Tensor,
        differentiable: bool,
        seen: TileStatistics | None,
    ) -> None:
        """Take in what the formula said of this process's rows."""
        if isinstance(scale, Tensor):
            scale = self.gather(scale)[:, None]
        self.rows = Rows(self.gather(threshold)[:, None], scale, differentiable)
        self.seen = seen
        # Compiled loops do everything but sub-centres and the gradient of a scale.
        self.fuses = self.head.kernels.compiled and self.centres == 1 and not differentiable
        self.columns = self.local.int()[:, None]

    def log_sum_exp(self) -> Tensor:
        """(B,) of this process's rows: log of the sum over the other classes of e^{s N_j}."""
        each, totals = ForwardPass(self).run()
        # For a backward pass that calls the formula again: nothing was kept, or this is the second.
        self._state = {name: b.clone() for name, b in self.formula.named_buffers()}
        return self._join(each, totals)

    def entries(self, tile: Tile, inverse: Tensor | None) -> Entries:
        """What a compiled kernel needs of a tile."""
        column = self.columns - tile.start if tile.start else self.columns
        given = None if self.products.rounds else inverse
        return Entries(given, column, self.rows.threshold, self.rows.scale)

    def weigh(
        self,
        tile: Tile,
        cos: Tensor,
        best: Tensor | None,
        inverse: Tensor | None,
        out: Tensor | None,
        reference: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Turn a tile's cosines into factors of the gradient, written to `out`; None: no gradient.

        Returns:
            (B,) each: the largest N (or `reference`), sums of e^{s (N - that)}, and sums of that
            times N if they are wanted.
        """
        rows, weights = self.rows, self.column_weights(tile)
        largest, sums = self.x.new_empty(len(self.x)), self.x.new_empty(len(self.x))
        totals = torch.empty_like(sums) if rows.total else None
        for block in self.tiling.blocks(tile):
            part = block.rows
            given = None if reference is None else reference[part, None]
            values = exponentials(
                self.formula, cos[part], rows, block, weights, given, out is not None
            )
            largest[part], sums[part] = values[0][:, 0], values[1]
            if totals is not None:
                totals[part] = values[2]
        if out is not None:
            self.place(cos, best, inverse, out)
        return largest, sums, totals

    def column_weights(self, tile: Tile) -> Tensor | None:
        """(c,) how many classes each sampled one stands for; None: one."""
        if self.active is None or self.active.weights is None:
            return None
        return self.active.weights[tile.start : tile.stop]

    def place(
        self, factors: Tensor, best: Tensor | None, inverse: Tensor | None, out: Tensor
    ) -> Tensor:
        """Write gradient factors (B, c) to the sub-centres that they belong to, over |W|."""
        if best is not None:
            self._by_class(out.zero_()).scatter_(2, best[..., None], factors[..., None])
        if inverse is not None and not self.products.rounds:
            out *= inverse
        return out

    def log_of(self, sums: Tensor, largest: Tensor) -> Tensor:
        """(B,) log-sum-exp of s N from the sums of e^{s (N - largest)}, which are overwritten."""
        scale = self.rows.flat_scale
        if isinstance(scale, Tensor):
            return sums.log_().addcmul_(largest, scale)
        return sums.log_().add_(largest, alpha=scale)

    def _join(self, each: Tensor, totals: Tensor | None) -> Tensor:
        """Log-sum-exp over tiles, then over processes."""
        self.lse = torch.logsumexp(each, 0) if len(each) > 1 else each[0]
        mean = None
        if totals is not None:
            shift = self.largest * self.rows.flat_scale - self.lse
            mean = (totals * shift.clamp_max(1.0).exp()).sum(0)
        if self.spread:
            each = self.exchange.stack(self.lse)
            lse = torch.logsumexp(each, 0)
            if mean is not None:
                mean = self.exchange.sum_(mean * (self.lse - lse).clamp_max(1.0).exp())
            self.lse = lse
        self.mean_n = None if mean is None else self.own(mean)
        return self.own(self.lse).detach()  # another tensor than the one that is kept here

    def scale_gradient(self, of_lse: Tensor) -> Tensor | None:
        """(B,) gradient of the scale: that of the log-sum-exp times the expected N."""
        return None if self.mean_n is None else of_lse * self.mean_n

    # Backward

    def backward(self, of_cosine: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Gradients of x (this process's rows), weight and bias."""
        of_lse = torch.zeros_like(of_cosine) if self.of_lse is None else self.of_lse
        with self._forward_state() if self.kept is None else contextlib.nullcontext():
            return BackwardPass(self, self.gather(of_cosine), self.gather(of_lse)).run()

    @contextlib.contextmanager
    def _forward_state(self) -> Iterator[None]:
        """The formula's state as it was in the forward pass (a later one may have moved it)."""
        later = {name: b.clone() for name, b in self.formula.named_buffers()}
        _set_buffers(self.formula, self._state)
        try:
            yield
        finally:
            _set_buffers(self.formula, later)


def _set_buffers(module: nn.Module, values: dict[str, Tensor]) -> None:
    for name, buffer in module.named_buffers():
        buffer.copy_(values[name])
