"""How far the figures would move with other people: a bootstrap over identities."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from frfw.evaluation.folds import GRID
from frfw.evaluation.result import VerificationResult


def bootstrap_intervals(
    result: VerificationResult,
    identities: NDArray[np.integer],
    samples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Return percentile intervals of accuracy, AUC, EER and TAR at FAR.

    Pairs that share a person are not independent, so people are drawn, not pairs. Each resample
    draws as many identities as there are, with replacement; a pair counts as often as its one
    person (same) or the product of its two (different) was drawn. Method: Efron and Tibshirani,
    An Introduction to the Bootstrap, 1993, percentile interval; over subjects as in Bolle, Ratha
    and Pankanti, CVIU 2004.

    Args:
        result: scores, kinds and folds of P pairs.
        identities: (P, 2) who is on the two images of each pair.
        samples: resamples.
        seed: of the draws; equal seeds give equal intervals.
        level: share of resamples between the ends.

    Returns:
        (low, high) by figure: accuracy, auc, eer, tar@<target>.
    """
    figures = _Weighted(result)
    drawn: dict[str, list[float]] = {}
    for weights in resampled(result.same, identities, samples, seed):
        for key, value in figures(weights).items():
            drawn.setdefault(key, []).append(value)
    ends = (50 * (1 - level), 50 * (1 + level))
    return {
        key: tuple(float(end) for end in np.percentile(values, ends))
        for key, values in drawn.items()
    }


def resampled(
    same: NDArray[np.bool_], identities: NDArray[np.integer], samples: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Yield (P,) weights of the pairs, `samples` times, as `bootstrap_intervals` draws them."""
    people, who = np.unique(np.asarray(identities), return_inverse=True)
    who = who.reshape(-1, 2)
    one_person = same & (who[:, 0] == who[:, 1])
    rng = np.random.default_rng(seed)
    for _ in range(samples):
        count = np.bincount(rng.integers(0, people.size, people.size), minlength=people.size)
        first, second = count[who[:, 0]], count[who[:, 1]]
        yield np.where(one_person, first, first * second)


class _Weighted:
    """The figures of a result with whole-number weights on its pairs, all sorted beforehand."""

    def __init__(self, result: VerificationResult) -> None:
        order = np.argsort(-result.scores, kind="stable")
        self.order, scores = order, result.scores[order]
        self.same = result.same[order]
        last = np.flatnonzero(np.append(scores[1:] < scores[:-1], True))
        self.last = last  # of each run of equal scores: a threshold cannot part them
        self.targets = [p.target for p in result.operating_points if p.tar is not None]
        self.folds = int(result.folds.max()) + 1
        first = np.searchsorted(GRID, 2 - 2 * result.scores, side="right")
        self.cell = (result.folds * 2 + result.same) * (GRID.size + 1) + first

    def __call__(self, weights: NDArray[np.integer]) -> dict[str, float]:
        sorted_weights = weights[self.order]
        genuine = np.cumsum(np.where(self.same, sorted_weights, 0))[self.last]
        impostor = np.cumsum(np.where(self.same, 0, sorted_weights))[self.last]
        if not genuine[-1] or not impostor[-1]:
            return {}
        tar = np.append(0.0, genuine / genuine[-1])
        far = np.append(0.0, impostor / impostor[-1])
        found = {
            "accuracy": self._accuracy(weights),
            "auc": float(np.sum(np.diff(far) * (tar[1:] + tar[:-1])) / 2),
            "eer": _crossing(far, tar),
        }
        for target in self.targets:
            found[f"tar@{target:g}"] = float(tar[np.searchsorted(far, target, "right") - 1])
        return found

    def _accuracy(self, weights: NDArray[np.integer]) -> float:
        """Weighted insightface accuracy: the mean over the folds that drew any pair."""
        table = np.bincount(self.cell, weights, self.folds * 2 * (GRID.size + 1))
        accepted = np.cumsum(table.reshape(self.folds, 2, -1), axis=2)
        right = accepted[:, 1, :-1] + accepted[:, 0, -1:] - accepted[:, 0, :-1]
        sizes = accepted[:, :, -1].sum(axis=1)
        best = np.argmax(right.sum(axis=0) - right, axis=1)
        drawn = sizes > 0
        return float(np.mean(right[np.arange(self.folds), best][drawn] / sizes[drawn]))


def _crossing(far: NDArray[np.float64], tar: NDArray[np.float64]) -> float:
    gap = far - (1 - tar)
    right = int(np.argmax(gap >= 0))
    share = -gap[right - 1] / (gap[right] - gap[right - 1])
    return float(far[right - 1] + share * (far[right] - far[right - 1]))
