"""Nearest neighbours above a cosine, among millions of embeddings, without comparing all pairs."""

from __future__ import annotations

import math

import numpy as np

_BUCKET = 256  # images that share a bucket when the embeddings are spread evenly
_TILE = 2048
_MISSED = 0.001  # chance that a pair just above the threshold shares no bucket in any table
_MAX_TABLES = 64


def close_across(
    embeddings: np.ndarray, labels: np.ndarray, threshold: float, seed: int = 0
) -> list[tuple[int, int, float]]:
    """Find images that are close to an image of another identity.

    Images are put into buckets by the signs of random projections (Charikar, STOC 2002); the two of
    a pair share a bit with probability 1 - angle / pi. Buckets are compared exactly, in as many
    tables as it takes to miss one pair in a thousand at the threshold itself, fewer above it. A set
    of up to 256 images is one bucket: nothing is missed.

    Args:
        embeddings: (N, dim) float32 unit rows; zero rows are close to nothing.
        labels: (N,) identities.

    Returns:
        (image, the closest earlier image of another identity, cosine), largest cosine first.
    """
    count, dim = embeddings.shape
    bits = max(0, math.ceil(math.log2(max(count, 1) / _BUCKET)))
    best, partner = np.full(count, threshold, np.float32), np.full(count, -1, np.int64)
    rng = np.random.default_rng([seed, 0x4EA4])
    for _ in range(_tables(bits, threshold)):
        signs = embeddings @ rng.standard_normal((dim, bits)).astype(np.float32) > 0
        code = signs @ (1 << np.arange(bits))
        order = np.argsort(code, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(code[order])) + 1):
            for start in range(0, len(bucket), _TILE):
                _compare(bucket[start : start + _TILE], bucket, embeddings, labels, best, partner)
    found = np.flatnonzero(partner >= 0)
    found = found[np.argsort(-best[found], kind="stable")]
    return [(int(i), int(partner[i]), float(best[i])) for i in found]


def _tables(bits: int, threshold: float) -> int:
    if not bits:
        return 1
    shared = (1 - math.acos(min(max(threshold, -1.0), 1.0)) / math.pi) ** bits
    if shared >= 1:
        return 1
    wanted = math.log(_MISSED) / math.log1p(-shared) if shared > 0 else _MAX_TABLES
    return min(_MAX_TABLES, math.ceil(wanted))


def _compare(
    rows: np.ndarray,
    bucket: np.ndarray,
    embeddings: np.ndarray,
    labels: np.ndarray,
    best: np.ndarray,
    partner: np.ndarray,
) -> None:
    """Compare images `rows` with the earlier ones of other identities in their bucket."""
    cosine = embeddings[rows] @ embeddings[bucket].T
    cosine[(labels[rows][:, None] == labels[bucket]) | (bucket >= rows[:, None])] = -2
    column = cosine.argmax(1)
    value = cosine[np.arange(len(rows)), column]
    better = value > best[rows]
    best[rows[better]] = value[better]
    partner[rows[better]] = bucket[column[better]]
