"""Ten-fold accuracy: the best threshold of the other folds, applied to the one left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frfw.errors import FrfwError

# insightface's thresholds on the squared distance of unit vectors.
GRID = np.arange(0, 4, 0.01)


@dataclass(frozen=True)
class FoldAccuracies:
    """Accuracy of every fold and the threshold that the other folds chose for it.

    Attributes:
        accuracies: (F,) float64.
        thresholds: (F,) float64, on the squared distance; same person where distance < threshold.
    """

    accuracies: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    @property
    def mean(self) -> float:
        return float(np.mean(self.accuracies))

    @property
    def std(self) -> float:
        """Spread of the folds, dividing by F as insightface prints it."""
        return float(np.std(self.accuracies))

    @property
    def standard_error(self) -> float:
        """Of the mean, as LFW reports it: sample deviation over the root of F."""
        return float(np.std(self.accuracies, ddof=1) / np.sqrt(self.accuracies.size))


def fold_numbers(pairs: int, folds: int | NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the fold 0..F-1 of every pair.

    Args:
        pairs: how many.
        folds: a number F: consecutive blocks, the first `pairs % F` one longer (scikit-learn's
            KFold without shuffling, as insightface uses); or (pairs,) fold names as given.

    Raises:
        FrfwError: fewer than two folds, or more than pairs.
    """
    if np.ndim(folds) == 0:
        count = int(folds)
        if not 2 <= count <= pairs:
            raise FrfwError(
                f"{count} fold(s) for {pairs} pairs: cross-validation needs at least two folds "
                "and a pair in each"
            )
        sizes = np.full(count, pairs // count)
        sizes[: pairs % count] += 1
        return np.repeat(np.arange(count), sizes)
    names = np.asarray(folds)
    if names.shape != (pairs,):
        raise FrfwError(f"{names.shape} fold names for {pairs} pairs: need one a pair")
    kinds, numbers = np.unique(names, return_inverse=True)
    if kinds.size < 2:
        raise FrfwError(
            f"all pairs are in fold {kinds[0]}: cross-validation needs at least two; folds=10 "
            "makes ten of consecutive pairs"
        )
    return numbers.astype(np.int64)


def grid_accuracy(
    distance: NDArray[np.floating],
    same: NDArray[np.bool_],
    fold: NDArray[np.int64],
    grid: NDArray[np.float64] = GRID,
) -> FoldAccuracies:
    """insightface's protocol: thresholds from `grid`, the first of the best one wins.

    A pair counts as "same" at every threshold above its distance, so one histogram of first
    accepting thresholds, by fold and kind, gives all counts at once.
    """
    accepted = _accepted(distance, same, fold, grid)
    right = accepted[:, 1, :-1] + accepted[:, 0, -1:] - accepted[:, 0, :-1]
    return _choose(right, np.bincount(fold), grid)


def grid_rates(
    distance: NDArray[np.floating],
    same: NDArray[np.bool_],
    fold: NDArray[np.int64],
    grid: NDArray[np.float64] = GRID,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (K,) TPR and (K,) FPR over `grid`, averaged over the folds as insightface does."""
    accepted = _accepted(distance, same, fold, grid)
    rates = accepted[:, :, :-1] / np.maximum(accepted[:, :, -1:], 1)
    impostors, genuine = rates.mean(axis=0)
    return genuine, impostors


def _accepted(
    distance: NDArray[np.floating],
    same: NDArray[np.bool_],
    fold: NDArray[np.int64],
    grid: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Count pairs (fold, kind, K + 1) that each threshold accepts; the last column: all pairs."""
    count, steps = int(fold.max()) + 1, grid.size
    first = np.searchsorted(grid, distance, side="right")
    cell = (fold * 2 + same) * (steps + 1) + first
    table = np.bincount(cell, minlength=count * 2 * (steps + 1))
    return np.cumsum(table.reshape(count, 2, steps + 1), axis=2)


def exact_accuracy(
    distance: NDArray[np.floating], same: NDArray[np.bool_], fold: NDArray[np.int64]
) -> FoldAccuracies:
    """The same with every threshold that could be best, half-way between two distinct distances.

    Accuracy cannot rise by stopping within a run of genuine pairs, or by accepting one more
    impostor, so only the ends of the genuine runs need trying.
    """
    order = np.argsort(distance)
    rising, kind = distance[order], same[order]
    apart = rising[1:] > rising[:-1]  # equal distances are accepted together
    tied = ~(np.append(True, apart) & np.append(apart, True))
    stops = np.flatnonzero(apart & (kind[:-1] | tied[:-1]) & (~kind[1:] | tied[1:]))
    between = (rising[stops] + rising[stops + 1]) / 2
    beyond = np.nextafter(rising[-1], np.inf)
    thresholds = np.concatenate([[rising[0]], between, [beyond]])
    # What accepting the pairs up to each threshold adds to the right answers of every fold.
    count, steps = int(fold.max()) + 1, thresholds.size
    cell = fold * steps + np.searchsorted(thresholds, distance, side="right")
    gain = np.bincount(cell, np.where(same, 1.0, -1.0), count * steps).reshape(count, steps)
    right = np.cumsum(gain, axis=1).astype(np.int64)
    right += np.bincount(fold[~same], minlength=count)[:, None]
    return _choose(right, np.bincount(fold, minlength=count), thresholds)


def _choose(
    right: NDArray[np.integer], sizes: NDArray[np.integer], thresholds: NDArray[np.float64]
) -> FoldAccuracies:
    """From right answers (F, K) and fold sizes (F,), choose for each fold by all the others."""
    others = right.sum(axis=0) - right
    best = np.argmax(others, axis=1)
    accuracies = right[np.arange(right.shape[0]), best] / sizes
    return FoldAccuracies(accuracies, thresholds[best].astype(np.float64))
