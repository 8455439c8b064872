"""Pair verification: the figures that papers report, with what they rest on."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frfw.errors import FrfwError
from frfw.evaluation import metrics
from frfw.evaluation.folds import exact_accuracy, fold_numbers, grid_accuracy
from frfw.evaluation.result import VerificationResult

_ROWS = 64  # of one block in float64, so that it stays in the processor's cache


def verify(
    embeddings_a: ArrayLike,
    embeddings_b: ArrayLike,
    same: ArrayLike,
    folds: int | ArrayLike = 10,
    *,
    far_targets: Sequence[float] = metrics.FAR_TARGETS,
    name: str = "",
) -> VerificationResult:
    """Score pairs of embeddings as insightface does, and beside it with exact thresholds.

    Embeddings are L2-normalised in float64; the squared distance of a pair is compared with
    thresholds 0, 0.01 .. 3.99 (same where smaller), and each fold is judged at the first of the
    thresholds that are best on the other folds. AUC, EER and TAR at FAR are exact, on the cosine.

    Args:
        embeddings_a, embeddings_b: (P, D) floats; pair i is row i of both.
        same: (P,) bool.
        folds: a number of consecutive blocks, or (P,) the fold of every pair.
        far_targets: FARs to give the TAR at.
        name: of the pair set, for messages and reports.

    Returns:
        VerificationResult; `.accuracy`, `.std` and `.fold_accuracies` are insightface's.

    Raises:
        FrfwError: shapes that do not fit, values that are not numbers, zero vectors, all pairs of
            one kind, fewer than two folds.
    """
    a, b = np.asarray(embeddings_a), np.asarray(embeddings_b)
    kinds = np.asarray(same)
    if a.ndim != 2 or a.shape != b.shape or kinds.shape != a.shape[:1]:
        raise FrfwError(
            f"{name or 'pairs'}: embeddings {a.shape} and {b.shape} with {kinds.shape} labels; "
            "need (P, D), (P, D) and (P,)"
        )
    distance = squared_distances(a, b)
    return verify_distances(distance, kinds, folds, far_targets=far_targets, name=name)


def verify_distances(
    distance: NDArray[np.floating],
    same: ArrayLike,
    folds: int | ArrayLike = 10,
    *,
    far_targets: Sequence[float] = metrics.FAR_TARGETS,
    name: str = "",
) -> VerificationResult:
    """Like `verify`, from (P,) squared distances of unit vectors (0..4)."""
    kinds = np.asarray(same).astype(bool)
    cosine = 1 - distance / 2
    fold = fold_numbers(distance.size, np.asarray(folds) if np.ndim(folds) else folds)
    order = np.argsort(distance)  # once, for all: what follows is several times as fast on it
    genuine, impostor = metrics.split_scores(cosine, kinds, order[::-1])
    ranked = distance[order], kinds[order], fold[order]
    grid, exact = grid_accuracy(*ranked), exact_accuracy(*ranked)
    points = [metrics.tar_at_far(genuine, impostor, float(far)) for far in far_targets]
    return VerificationResult(
        name=name,
        accuracy=grid.mean,
        std=grid.std,
        standard_error=grid.standard_error,
        fold_accuracies=grid.accuracies,
        fold_thresholds=grid.thresholds,
        exact_accuracy=exact.mean,
        exact_fold_accuracies=exact.accuracies,
        exact_fold_thresholds=exact.thresholds,
        auc=metrics.auc(genuine, impostor),
        eer=metrics.equal_error_rate(metrics.ranked_roc(cosine[order], kinds[order])),
        operating_points=tuple(points),
        scores=cosine,
        same=kinds,
        folds=fold,
    )


def squared_distances(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return (P,) squared Euclidean distances of the L2-normalised rows, in float64.

    As 2 - 2 cos, which needs one pass over small blocks; where that lies so near to a threshold
    of the grid that rounding decides, the distance is taken as the protocol writes it.

    Raises:
        FrfwError: a row is zero or not a number; the pair is named.
    """
    squares, products = np.empty((2, a.shape[0])), np.empty(a.shape[0])
    room = _on_cache_lines(2, _ROWS, a.shape[1])  # written again and again: stays in the cache
    for start in range(0, a.shape[0], _ROWS):
        stop = min(start + _ROWS, a.shape[0])
        both = room[:, : stop - start]
        both[0], both[1] = a[start:stop], b[start:stop]
        _dot(both, both, out=squares[:, start:stop])
        _dot(both[0], both[1], out=products[start:stop])
    for square, which in zip(squares, ("first", "second")):
        _check_norms(square, which)
    distance = 2 - 2 * (products / np.sqrt(squares[0] * squares[1]))
    doubtful = np.flatnonzero(np.abs(distance * 100 - np.rint(distance * 100)) < 1e-9)
    distance[doubtful] = _as_written(a[doubtful], b[doubtful])
    return distance


def _on_cache_lines(*shape: int) -> NDArray[np.float64]:
    """Return an empty array that begins on a cache line: no load of 64 bytes straddles two."""
    size = math.prod(shape)
    raw = np.empty(size + 8)
    start = -(raw.ctypes.data // 8) % 8
    return raw[start : start + size].reshape(shape)


def _as_written(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    x, y = (rows.astype(np.float64) for rows in (a, b))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    return np.sum(np.square(x - y), axis=1)


def _row_dots(
    x: NDArray[np.float64], y: NDArray[np.float64], out: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.einsum("...j,...j->...", x, y, out=out)


_dot = getattr(np, "vecdot", _row_dots)  # NumPy 2 has the faster one


def _check_norms(square: NDArray[np.float64], which: str) -> None:
    good = np.isfinite(square) & (square > 0)
    if not good.all():
        bad = int(np.argmin(good))
        what = "all zeros" if square[bad] == 0 else "not numbers (NaN or infinity)"
        raise FrfwError(f"the {which} embedding of pair {bad} is {what}")
