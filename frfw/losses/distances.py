"""Distances between two sets of embeddings, with finite gradients where two of them coincide."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_EXACT = "donot_use_mm_for_euclid_dist"  # no cancellation between near-equal embeddings


_MOST = 1 << 26  # numbers that the backward pass on a GPU may write down at a time


def _between(a: Tensor, b: Tensor, p: float) -> Tensor:
    """torch.cdist. Its backward pass on a GPU needs A x B x D numbers, so `a` is cut up there."""
    wanted = torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)
    if not (a.is_cuda and wanted):
        return torch.cdist(a, b, p, _EXACT)
    rows = max(1, _MOST // max(1, b.numel()))
    return torch.cat([torch.cdist(part, b, p, _EXACT) for part in a.split(rows)])


def euclidean(a: Tensor, b: Tensor) -> Tensor:
    """Return (A, B) distances of (A, D) and (B, D); the gradient at distance 0 is 0."""
    return _between(a, b, 2.0)


def squared(a: Tensor, b: Tensor) -> Tensor:
    """Return (A, B) squared Euclidean distances."""
    return euclidean(a, b).square()


def manhattan(a: Tensor, b: Tensor) -> Tensor:
    """Return (A, B) sums of absolute differences."""
    return _between(a, b, 1.0)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return (A, B) values 1 - cos; embeddings are normalised here."""
    return 1 - F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


DISTANCES = {
    "euclidean": euclidean,
    "squared": squared,
    "manhattan": manhattan,
    "cosine": cosine,
}
