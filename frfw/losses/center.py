"""Centre loss: pulls every embedding to a running centre of its class."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from frfw.losses.distributed import Group, gather, total, world
from frfw.losses.embedding import register_embedding_loss
from frfw.losses.widen import keep_wide, widen, without_autocast


@register_embedding_loss("center")
class CenterLoss(nn.Module):
    """L = 1/(2B) sum |x_i - c_{y_i}|² on un-normalised embeddings.

    The centres are not trained by gradient: after the loss of a batch, in training mode, each
    class moves by c <- c - alpha sum_i (c - x_i) / (1 + n) over its n samples in the global batch.

    Source: Wen et al., "A Discriminative Feature Learning Approach", ECCV 2016, eq. 2 and 4; the
    paper's λ is `extra_loss.weight` when the loss is added to a softmax loss.

    Args:
        alpha: rate of the centres, [0, 1].
        seed: of the initial centres, which are normal with norm about 1.

    Attributes:
        centers: buffer (classes, dim), float32.
    """

    def __init__(self, dim: int, classes: int, alpha: float = 0.5, seed: int = 0) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be in [0, 1], got {alpha}")
        self.alpha = float(alpha)
        generator = torch.Generator().manual_seed(seed)
        self.centers: Tensor
        self.register_buffer("centers", torch.randn(classes, dim, generator=generator) / dim**0.5)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> CenterLoss:
        return super()._apply(keep_wide(fn), recurse)

    @without_autocast
    def forward(self, embeddings: Tensor, labels: Tensor, group: Group = None) -> Tensor:
        """Return the loss of (B, D) embeddings with (B,) labels, then move the centres."""
        x = widen(embeddings, self.centers.dtype)
        difference = x - self.centers[labels]
        count = total(x.new_full((), float(len(x))), group)
        loss = difference.square().sum() / 2 * (world(group) / count)
        if self.training:
            self._move(x, labels, group)
        return loss

    @torch.no_grad()
    def _move(self, x: Tensor, labels: Tensor, group: Group) -> None:
        x, labels = gather(x, group)[0], gather(labels, group)[0]
        # Over the batch's own classes only: work does not grow with the number of classes.
        present, place, count = labels.unique(return_inverse=True, return_counts=True)
        # Sums in one order: index_add_ adds in any on a GPU, and the ranks would drift apart.
        difference = (self.centers[labels] - x)[place.argsort(stable=True)]
        summed = torch.segment_reduce(difference, "sum", lengths=count)
        self.centers[present] -= self.alpha * summed / (1 + count)[:, None]
