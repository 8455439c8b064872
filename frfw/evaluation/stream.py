"""Error rates of any number of scores in constant memory: two fine histograms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frfw.errors import FrfwError
from frfw.evaluation.metrics import OperatingPoint, Roc, equal_error_rate
from frfw.values import rate

BINS = 1 << 22  # over [-1, 1]: a bin is 4.8e-7 wide, about the rounding of a float32 cosine


class ScoreStream:
    """Counts of genuine and impostor cosines.

    Rates are those of thresholds at the edges of the bins; scores that share a bin count as
    equal. 64 MiB whatever the number of scores.
    """

    def __init__(self, bins: int = BINS) -> None:
        self.bins = bins
        self.genuine = np.zeros(bins, np.int64)
        self.impostor = np.zeros(bins, np.int64)

    def add(self, scores: NDArray[np.floating], same: NDArray[np.bool_]) -> None:
        """Count scores in [-1, 1]; FrfwError if one is not a number."""
        if not np.isfinite(scores).all():
            bad = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise FrfwError(f"score {bad} of {scores.size} is not a number")
        place = ((np.asarray(scores, np.float64) + 1) * (self.bins / 2)).astype(np.int64)
        np.clip(place, 0, self.bins - 1, out=place)
        self.genuine += np.bincount(place[same], minlength=self.bins)
        self.impostor += np.bincount(place[~same], minlength=self.bins)

    def rates(self) -> Roc:
        """Return the ROC at the lower edges of all bins that hold a score."""
        used = np.flatnonzero((self.genuine > 0) | (self.impostor > 0))[::-1]
        genuine, impostor = np.cumsum(self.genuine[used]), np.cumsum(self.impostor[used])
        if not used.size or not genuine[-1] or not impostor[-1]:
            kind = "different" if used.size and not genuine[-1] else "same"
            raise FrfwError(f"all pairs are '{kind}': error rates need pairs of both kinds")
        return Roc(
            far=np.append(0.0, impostor / impostor[-1]),
            tar=np.append(0.0, genuine / genuine[-1]),
            thresholds=np.append(np.inf, used * (2 / self.bins) - 1),
        )

    def operating_point(self, target: float, curve: Roc | None = None) -> OperatingPoint:
        """Return TAR at the largest acceptance whose FAR does not exceed `target`."""
        target, count = rate(target, "FAR target"), int(self.impostor.sum())
        if target * count < 0.5:
            needed = math.ceil(round(1 / target, 6))
            note = f"{count} impostors are too few for FAR {target:g}: {needed} are"
            return OperatingPoint(target, None, None, None, note)
        curve = curve or self.rates()
        at = int(np.searchsorted(curve.far, target * (1 + 1e-12), "right")) - 1
        note = "" if target * count >= 1 else f"{count} impostors: FAR {target:g} here means none"
        threshold = float(curve.thresholds[at])
        if at == 0 and len(curve.thresholds) > 1:  # nothing is accepted: just above all scores
            threshold = float(np.nextafter(curve.thresholds[1], np.inf))
        return OperatingPoint(target, float(curve.tar[at]), threshold, float(curve.far[at]), note)

    def result(self, name: str, targets: tuple[float, ...]) -> StreamResult:
        """Return the figures, with a ROC thinned to some hundred points."""
        curve = self.rates()
        area = float(np.sum(np.diff(curve.far) * (curve.tar[1:] + curve.tar[:-1])) / 2)
        chosen = np.searchsorted(curve.far, np.logspace(-7, 0, 400), "right") - 1
        return StreamResult(
            name=name,
            genuine_count=int(self.genuine.sum()),
            impostor_count=int(self.impostor.sum()),
            auc=area,
            eer=equal_error_rate(curve),
            operating_points=tuple(self.operating_point(t, curve) for t in targets),
            curve={"far": curve.far[chosen].tolist(), "tar": curve.tar[chosen].tolist()},
        )


@dataclass
class StreamResult:
    """Figures of a 1:1 protocol of many pairs.

    Attributes:
        name: of the set.
        genuine_count, impostor_count: pairs of each kind.
        auc, eer: of the ROC.
        operating_points: one for every FAR target.
        curve: some hundred (far, tar) points, even on a log axis.
    """

    name: str
    genuine_count: int
    impostor_count: int
    auc: float
    eer: float
    operating_points: tuple[OperatingPoint, ...]
    curve: dict[str, list[float]]

    @property
    def tar_at_far(self) -> dict[float, float | None]:
        """TAR by FAR target; None where the impostors are too few."""
        return {point.target: point.tar for point in self.operating_points}

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, fit for JSON."""
        return {**self.__dict__, "operating_points": [vars(p) for p in self.operating_points]}
