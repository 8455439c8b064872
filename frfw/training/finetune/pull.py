"""A pull towards the initial embeddings, against forgetting what the network knew."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from frfw.errors import FrfwError

KINDS = ("none", "cosine", "l2")


class Pull:
    """`weight` times the distance of embeddings to those of the network as it was at the start.

    cosine: 1 - cos(e, e0). l2: |e - e0|² / dim, which holds the length too (AdaFace and MagFace
    read quality from it). Both are means over the batch: with equal shares a rank, the mean over
    ranks is the global one.

    Args:
        backbone: the network with its initial weights; a frozen copy of it is kept, outside of
            any module tree, so that no checkpoint, optimizer or DDP sees it.
        kind: "cosine" or "l2".
        weight: factor of the term.
    """

    def __init__(self, backbone: nn.Module, kind: str, weight: float) -> None:
        if kind not in KINDS[1:]:
            raise FrfwError(f"finetune.pull={kind}: choose one of {', '.join(KINDS)}")
        if weight < 0:
            raise FrfwError(f"finetune.pull_weight={weight} must not be negative")
        self.kind, self.weight = kind, float(weight)
        self.initial = copy.deepcopy(backbone).eval().requires_grad_(False)

    def __call__(self, pixels: Tensor, embeddings: Tensor) -> Tensor:
        """Return the scalar term for `embeddings` (B, dim) of normalised `pixels` (B, 3, H, W)."""
        if next(self.initial.parameters()).device != pixels.device:
            self.initial.to(pixels.device)  # the copy was made before the model was placed
        with torch.no_grad():
            target = self.initial(pixels).float()
        embeddings = embeddings.float()
        if self.kind == "cosine":
            return self.weight * (1 - cosine_similarity(embeddings, target)).mean()
        return self.weight * (embeddings - target).square().mean()
