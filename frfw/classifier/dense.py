"""The readable reference: all logits at once, gradients by plain autograd."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from frfw.classifier.statistics import TileStatistics


class DenseSoftmax:
    """One batch through a dense head. The tiled engine has the same methods and results.

    Args:
        head: the classifier (its weight, bias and formula).
        x: (B, D) embeddings, unit length for a cosine head.
        labels: (B,) int64.
    """

    def __init__(self, head, x: Tensor, labels: Tensor) -> None:
        self.formula, self.labels = head.formula, labels
        weight = head.weight if self.formula.geometry == "linear" else F.normalize(head.weight)
        scores = F.linear(x, weight, head.bias)  # (B, C * K)
        if self.formula.sub_centers > 1:
            scores = scores.unflatten(1, (-1, self.formula.sub_centers)).max(2).values
        self.cos = scores
        self.is_target = F.one_hot(labels, scores.shape[1]).bool()
        self.target_cos = scores.gather(1, labels[:, None])[:, 0]

    def global_rows(self, own: Tensor) -> Tensor:
        """Rows as the negatives see them; a dense head sees its own batch only."""
        return own

    @torch.no_grad()
    def survey(self, threshold: Tensor, samples) -> dict[str, Tensor]:
        """Sums over the negatives that the formula asked for, (B,) each."""
        return self.formula.survey(self.cos, self.is_target, threshold[:, None], samples)

    def logits(self, target: Tensor, threshold: Tensor, scale: float | Tensor) -> Tensor:
        """(B, C): s N_j in the columns of the other classes, s T in the own one."""
        negatives = self.cos
        if not self.formula.identity_negatives:
            negatives = self.formula.negatives(self.cos, threshold.detach()[:, None])
        scale = scale[:, None] if isinstance(scale, Tensor) else scale
        return scale * torch.where(self.is_target, target[:, None], negatives)

    def loss(
        self, target: Tensor, threshold: Tensor, scale: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return per-sample loss (B,), and the own class's probability (B,), detached."""
        per_sample = F.cross_entropy(
            self.logits(target, threshold, scale), self.labels, reduction="none"
        )
        return per_sample, torch.exp(-per_sample.detach())

    @torch.no_grad()
    def statistics(self, target: Tensor, threshold: Tensor) -> dict[str, object]:
        """The optional fields of `HeadOutput`."""
        seen = TileStatistics(self.formula, threshold)
        rows = torch.arange(len(self.labels), device=self.labels.device)
        seen.add(self.cos.detach(), (rows, self.labels))
        return seen.fields(self.target_cos.detach(), target.detach())
