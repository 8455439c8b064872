"""Distances between two sets of embeddings, with finite gradients where two of them coincide."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_EXACT = "donot_use_mm_for_euclid_dist"  # no cancellation between near-equal embeddings


def euclidean(a: Tensor, b: Tensor) -> Tensor:
    """Return (A, B) distances of (A, D) and (B, D); the gradient at distance 0 is 0."""
    return torch.cdist(a, b, compute_mode=_EXACT)


def squared(a: Tensor, b: Tensor) -> Tensor:
    """Return (A, B) squared Euclidean distances."""
    return euclidean(a, b).square()


def manhattan(a: Tensor, b: Tensor) -> Tensor:
    """Return (A, B) sums of absolute differences."""
    return torch.cdist(a, b, p=1.0)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return (A, B) values 1 - cos; embeddings are normalised here."""
    return 1 - F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


DISTANCES = {
    "euclidean": euclidean,
    "squared": squared,
    "manhattan": manhattan,
    "cosine": cosine,
}
