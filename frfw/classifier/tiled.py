"""The margin softmax in tiles: forward and backward without the B x C logits.

With x of unit length, cos_j = (x W_j) / |W_j|, and only the log-sum-exp of the negatives needs all
classes. The target and the margin are (B,) vectors that plain autograd handles; the loss is
L = softplus(lse - s T), whose derivative 1 - p has no cancellation.

Backward, for a tile of classes with G_bj = dL_b / dcos_bj: D = G^T x / |W|, and
dW_j = D_j - (D_j W_j) W_j / |W_j|^2. The forward pass either keeps w e^{s (N - m)} dN/dcos / |W|
of every entry, with m the largest N of a row in its tile (then G is that times one factor a row
and tile, and backward is two matrix products and no elementwise work), or keeps nothing and
backward computes the cosines again.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from frfw.classifier.statistics import TileStatistics
from frfw.classifier.sweep import TileSweep


class TiledSoftmax:
    """One batch through a tiled head: the methods and results of `DenseSoftmax`.

    Args:
        head: the classifier.
        x: (B, D) embeddings, unit length for a cosine head.
        labels: (B,) int64 class numbers.
        sizes: batch size of every process.
    """

    def __init__(self, head: Any, x: Tensor, labels: Tensor, sizes: list[int]) -> None:
        self.sweep = TileSweep(head, x, labels, sizes)
        self.formula = head.formula
        self.collect = head.statistics
        self.seen: TileStatistics | None = None
        self.target_cos, self._link = _TargetCosine.apply(x, head.weight, head.bias, self.sweep)

    def global_rows(self, own: Tensor) -> Tensor:
        """Rows of the batches whose negatives are computed here."""
        return self.sweep.gather(own)

    @torch.no_grad()
    def survey(self, threshold: Tensor, samples: Any) -> dict[str, Tensor]:
        """Sums over the negatives that the formula asked for, for this process's rows."""
        totals: dict[str, Tensor] = {}
        for tile in self.sweep.tiling:
            cos = self.sweep.cosines(tile)[0]
            own = torch.zeros_like(cos, dtype=torch.bool)
            own[tile.samples, tile.targets] = True
            found = self.formula.survey(cos, own, threshold[:, None], samples)
            totals = {key: totals.get(key, 0) + value for key, value in found.items()}
        return {key: self.sweep.total_own(value) for key, value in totals.items()}

    def loss(
        self, target: Tensor, threshold: Tensor, scale: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return per-sample loss (B,), and the own class's probability (B,), detached."""
        differentiable = isinstance(scale, Tensor) and scale.requires_grad
        if self.collect:
            self.seen = TileStatistics(self.formula, self.sweep.gather(threshold))
        self.sweep.begin(threshold, scale, differentiable, self.seen)
        return _MarginLoss.apply(self._link, target, scale, self.sweep)

    @torch.no_grad()
    def statistics(self, target: Tensor, threshold: Tensor) -> dict[str, object]:
        """The optional fields of `HeadOutput`."""
        assert self.seen is not None
        if self.sweep.spread:
            self.seen.reduce(self.sweep.exchange)
        return self.seen.fields(self.target_cos.detach(), target.detach(), self.sweep.own)


class _TargetCosine(torch.autograd.Function):
    """x, W -> cosine to the own centre. Its backward, which runs last, does the whole head's."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, sweep: TileSweep):
        ctx.sweep = sweep
        ctx.save_for_backward(weight)  # so that autograd notices when it was changed in between
        return sweep.target_cosines(), x.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx, of_cosine: Tensor, _link: Tensor):
        ctx.saved_tensors  # noqa: B018 (raises if the weight was changed since the forward pass)
        of_x, of_weight, of_bias = ctx.sweep.backward(of_cosine)
        return of_x, of_weight, of_bias, None


class _MarginLoss(torch.autograd.Function):
    """T, s -> L = softplus(lse - s T) and p, with lse the log of the sum of e^{s N_j}, j not y.

    It hands the gradient of lse to `_TargetCosine`.
    """

    @staticmethod
    def forward(ctx, link: Tensor, target: Tensor, scale: float | Tensor, sweep: TileSweep):
        ctx.sweep, ctx.scale = sweep, scale
        margin = sweep.log_sum_exp() - scale * target
        p = torch.sigmoid(-margin)
        ctx.save_for_backward(torch.sigmoid(margin), target)  # 1 - p would have no digits
        ctx.mark_non_differentiable(p)
        # softplus switches to the identity above its threshold; there the difference is below eps.
        return F.softplus(margin, threshold=40.0), p

    @staticmethod
    def backward(ctx, of_loss: Tensor, _p: Tensor):
        if torch.is_grad_enabled():  # a graph of this is wanted: let it refuse, not end in silence
            of_loss = of_loss.detach().requires_grad_()
        return _MarginLoss._first_order(ctx, of_loss)

    @staticmethod
    @once_differentiable
    def _first_order(ctx, of_loss: Tensor):
        rest, target = ctx.saved_tensors
        of_lse = ctx.sweep.of_lse = of_loss * rest
        of_scale = None
        if isinstance(ctx.scale, Tensor) and ctx.needs_input_grad[2]:
            of_scale = ctx.sweep.scale_gradient(of_lse) - of_lse * target
        return of_lse.new_zeros(()), of_lse * -ctx.scale, of_scale, None
