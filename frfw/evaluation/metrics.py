"""Error rates of scored pairs: ROC, AUC, EER, TAR at a FAR. Higher score = more alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frfw.errors import FrfwError
from frfw.values import rate

FAR_TARGETS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


@dataclass(frozen=True)
class Roc:
    """Accept where score >= threshold: one point for every distinct score, plus "accept none".

    Attributes:
        far: share of impostor pairs accepted, rising, (K,) float64, from 0 to 1.
        tar: share of genuine pairs accepted, rising, (K,) float64, from 0 to 1.
        thresholds: falling, (K,) float64; the first is infinity.
    """

    far: NDArray[np.float64]
    tar: NDArray[np.float64]
    thresholds: NDArray[np.float64]


def split_scores(
    scores: NDArray[np.floating],
    same: NDArray[np.bool_],
    order: NDArray[np.integer] | None = None,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the genuine and the impostor scores, each rising.

    Args:
        scores, same: (P,) scores and kinds of pairs.
        order: (P,) positions by rising score, where the caller has them.

    Raises:
        FrfwError: the two arrays differ in length, a score is not a number, or all pairs are
            of one kind.
    """
    scores, same = np.asarray(scores), np.asarray(same, dtype=bool)
    if scores.shape != same.shape or scores.ndim != 1:
        raise FrfwError(f"{scores.shape} scores for {same.shape} pairs: need one score a pair")
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise FrfwError(f"{bad.size} scores are not numbers, the first of pair {bad[0]}")
    order = np.argsort(scores) if order is None else order
    rising, kind = scores[order], same[order]
    genuine, impostor = rising[kind], rising[~kind]
    if not genuine.size or not impostor.size:
        kind = "different" if not genuine.size else "same"
        raise FrfwError(
            f"all {scores.size} pairs are '{kind}': error rates need pairs of both kinds"
        )
    return genuine, impostor


def roc(genuine: NDArray[np.floating], impostor: NDArray[np.floating]) -> Roc:
    """Return the exact ROC curve of rising scores (as `split_scores` gives them)."""
    scores = np.concatenate([genuine, impostor])
    order = np.argsort(scores, kind="stable")[::-1]  # two rising runs: merged, not sorted
    return ranked_roc(scores[order], order < genuine.size)


def ranked_roc(falling: NDArray[np.floating], same: NDArray[np.bool_]) -> Roc:
    """Return the exact ROC curve of (P,) falling scores with their kinds, some of each."""
    last = np.flatnonzero(np.append(falling[1:] < falling[:-1], True))  # of equal scores
    tar = np.cumsum(same)[last]
    far = last + 1 - tar
    return Roc(
        far=np.append(0.0, far / far[-1]),
        tar=np.append(0.0, tar / tar[-1]),
        thresholds=np.append(np.inf, falling[last].astype(np.float64)),
    )


def auc(genuine: NDArray[np.floating], impostor: NDArray[np.floating]) -> float:
    """Chance that a genuine pair scores above an impostor one, ties counting half.

    Whole numbers until the last division (the Mann-Whitney statistic), so it is exact.
    """
    below = int(np.searchsorted(impostor, genuine, "left").sum(dtype=np.int64))
    not_above = int(np.searchsorted(impostor, genuine, "right").sum(dtype=np.int64))
    return (below + not_above) / 2 / (genuine.size * impostor.size)


def equal_error_rate(curve: Roc) -> float:
    """Return the rate at which FAR = 1 - TAR, on the straight line between neighbouring points."""
    gap = curve.far - (1 - curve.tar)  # rises from -1 to 1
    right = int(np.argmax(gap >= 0))
    left = right - 1
    share = -gap[left] / (gap[right] - gap[left])
    return float(curve.far[left] + share * (curve.far[right] - curve.far[left]))


@dataclass(frozen=True)
class OperatingPoint:
    """What a FAR target comes to on these pairs.

    Attributes:
        target: the FAR asked for.
        tar: share of genuine pairs accepted; None where the impostors are too few to say.
        threshold: accept where score >= threshold; None likewise.
        far: the FAR that this threshold really has, at most `target`.
        note: what a reader must know of the figure; empty when nothing.
    """

    target: float
    tar: float | None
    threshold: float | None
    far: float | None
    note: str = ""


def tar_at_far(
    genuine: NDArray[np.floating], impostor: NDArray[np.floating], target: float
) -> OperatingPoint:
    """Return TAR at the largest acceptance whose FAR does not exceed `target`.

    With n impostors FAR moves in steps of 1/n. A target under half a step cannot be told from
    zero and gets no figure; from half a step to one, the figure is the TAR at no false accept,
    and the note says so.

    Raises:
        FrfwError: `target` is not above 0 and up to 1.
    """
    target, n = rate(target, "FAR target"), impostor.size
    if target * n < 0.5:
        needed = math.ceil(round(1 / target, 6))
        return OperatingPoint(
            target, None, None, None, f"{n} impostors are too few for FAR {target:g}: {needed} are"
        )
    allowed = math.floor(target * n + 1e-9)
    if allowed >= n:
        lowest = float(min(genuine[0], impostor[0]))
        return OperatingPoint(target, 1.0, lowest, 1.0)
    ceiling = impostor[n - 1 - allowed]  # the first impostor that must stay out
    kept = genuine.size - int(np.searchsorted(genuine, ceiling, "right"))
    accepted = n - int(np.searchsorted(impostor, ceiling, "right"))
    above = [s[-k] for s, k in ((genuine, kept), (impostor, accepted)) if k]
    threshold = float(min(above)) if above else float(np.nextafter(ceiling, np.inf))
    note = "" if allowed else f"{n} impostors: FAR {target:g} here means no false accept"
    return OperatingPoint(target, kept / genuine.size, threshold, accepted / n, note)
