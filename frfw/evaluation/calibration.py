"""From scores to decisions: a threshold for a FAR, and a map to likelihood ratios."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.isotonic import IsotonicRegression

from frfw.errors import FrfwError
from frfw.evaluation.bootstrap import resampled
from frfw.evaluation.metrics import split_scores, tar_at_far
from frfw.values import whole

FEW = 30  # errors below which a rate is uncertain by a third or more (Doddington's rule of 30)


@dataclass
class Calibration:
    """What a deployment needs of a model.

    Attributes:
        far: asked for; far_measured: what the threshold has on these pairs.
        threshold: accept where cosine >= threshold; threshold_interval: its 95 % interval, None
            where none was asked for.
        tar: share of genuine pairs accepted.
        knots, log_ratios: natural-log likelihood ratio by cosine, a rising step function: that of
            the last knot at or below the score.
        cllr: cost of the map on pairs it was not fitted to, in bits (0 perfect, 1 says nothing);
            cllr_min: on the pairs it was fitted to, the least any rising map can have.
        genuine, impostors: pairs it was made from.
        notes: what a reader must know.
        details: model, pairs, pre-processing.
    """

    far: float
    far_measured: float
    threshold: float
    threshold_interval: tuple[float, float] | None
    tar: float
    knots: list[float]
    log_ratios: list[float]
    cllr: float
    cllr_min: float
    genuine: int
    impostors: int
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def log_likelihood_ratio(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Return the natural-log likelihood ratio of cosines, same person over different."""
        return _look_up(np.asarray(self.knots), np.asarray(self.log_ratios), np.asarray(scores))

    def save(self, path: str | Path) -> Path:
        """Write it as JSON; return the path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what `save` wrote; FrfwError if it is no such file."""
        try:
            values = json.loads(Path(path).read_text())
            interval = values["threshold_interval"]
            values["threshold_interval"] = None if interval is None else tuple(interval)
            return cls(**values)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise FrfwError(f"{path}: no calibration ({error}); calibrate again") from error


def calibrate(
    scores: NDArray[np.floating],
    same: NDArray[np.bool_],
    far: float,
    *,
    folds: NDArray[np.integer],
    identities: NDArray[np.integer],
    samples: int = 1000,
    seed: int = 0,
) -> Calibration:
    """Choose the threshold for `far`, and fit the map from score to likelihood ratio.

    Args:
        scores, same: (P,) cosines and kinds.
        folds: (P,) fold of every pair; Cllr is measured on each fold with the map of the others.
        identities: (P, 2) who is on the two images, for the interval.
        samples: bootstrap resamples of identities, 0: no interval; seed: of their draws.

    Raises:
        FrfwError: `far` is not between 0 and 1, or is less than one false accept among the
            impostors, so that no threshold can be measured for it.
    """
    genuine, impostor = split_scores(scores, same)
    check_far(far, impostor.size)
    expected = far * impostor.size
    point = tar_at_far(genuine, impostor, far)
    notes = []
    if expected < FEW:
        notes.append(
            f"FAR {far:g} is {expected:.3g} false accepts of {impostor.size} impostors; under "
            f"{FEW} the threshold is uncertain: mind its interval"
        )
    knots, ratios = fit_ratios(scores, same)
    interval = _interval(scores, same, far, identities, whole(samples, "bootstrap", 0), seed)
    return Calibration(
        far=far,
        far_measured=float(point.far),
        threshold=float(point.threshold),
        threshold_interval=interval,
        tar=float(point.tar),
        knots=knots.tolist(),
        log_ratios=ratios.tolist(),
        cllr=_cross_validated_cllr(scores, same, folds),
        cllr_min=cllr(_look_up(knots, ratios, scores), same),
        genuine=int(genuine.size),
        impostors=int(impostor.size),
        notes=notes,
    )


def check_far(far: float, impostors: int) -> None:
    """Refuse a FAR for which the impostors are too few; FrfwError says how many it takes."""
    if not 0 < far < 1:
        raise FrfwError(f"far {far:g}: a false accept rate lies between 0 and 1")
    if far * impostors < 1 - 1e-9:
        raise FrfwError(
            f"{impostors} impostor pairs are too few for FAR {far:g}: one false accept needs "
            f"{math.ceil(round(1 / far, 6))}; give more different pairs or a FAR of at least "
            f"{1 / max(impostors, 1):.2g}"
        )


def fit_ratios(
    scores: NDArray[np.floating], same: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit the rising map from score to natural-log likelihood ratio (pool adjacent violators).

    One pair of each kind is added at both ends, so that no score is proof: without them the
    ratio beyond the last impostor would be infinite. Brümmer and du Preez, Computer Speech and
    Language 20, 2006; Zadrozny and Elkan, KDD 2002.

    Returns:
        Rising scores at which the ratio changes, and the ratio from each on.
    """
    low, high = float(scores.min()), float(scores.max())
    x = np.concatenate([scores, [low, low, high, high]])
    y = np.concatenate([same, [1, 0, 1, 0]]).astype(np.float64)
    model = IsotonicRegression(out_of_bounds="clip").fit(x, y)
    knots, share = np.asarray(model.X_thresholds_), np.asarray(model.y_thresholds_)
    changes = np.append(True, np.diff(share) > 1e-12)
    knots, share = knots[changes].astype(np.float64), share[changes].astype(np.float64)
    prior = y.mean()
    return knots, np.log(share / (1 - share)) - np.log(prior / (1 - prior))


def cllr(log_ratios: NDArray[np.floating], same: NDArray[np.bool_]) -> float:
    """Return the cost of log-likelihood ratios in bits, Brümmer and du Preez 2006, equation 3."""
    genuine = np.logaddexp(0, -log_ratios[same]).mean()
    impostor = np.logaddexp(0, log_ratios[~same]).mean()
    return float((genuine + impostor) / (2 * np.log(2)))


def _look_up(
    knots: NDArray[np.float64], ratios: NDArray[np.float64], scores: NDArray[np.floating]
) -> NDArray[np.float64]:
    return ratios[np.maximum(np.searchsorted(knots, scores, "right") - 1, 0)]


def _cross_validated_cllr(
    scores: NDArray[np.floating], same: NDArray[np.bool_], folds: NDArray[np.integer]
) -> float:
    ratios = np.empty(scores.size)
    for fold in np.unique(folds):
        inside = folds == fold
        try:  # both kinds must be left to fit to
            split_scores(scores[~inside], same[~inside])
        except FrfwError as error:
            raise FrfwError(f"without fold {fold}, {error}; mix the folds") from error
        ratios[inside] = _look_up(*fit_ratios(scores[~inside], same[~inside]), scores[inside])
    return cllr(ratios, same)


def _interval(
    scores: NDArray[np.floating],
    same: NDArray[np.bool_],
    far: float,
    identities: NDArray[np.integer],
    samples: int,
    seed: int,
) -> tuple[float, float] | None:
    """Bootstrap the threshold: with impostors drawn anew, where would it be?"""
    order = np.argsort(-scores, kind="stable")
    falling, impostor = scores[order], ~same[order]
    thresholds = []
    for weights in resampled(same, identities, samples, seed):
        accepted = np.cumsum(np.where(impostor, weights[order], 0))
        if accepted[-1]:
            allowed = int(np.searchsorted(accepted, far * accepted[-1] + 1e-9, "right"))
            thresholds.append(falling[max(allowed - 1, 0)])
    if not thresholds:  # none asked for, or no resample drew an impostor
        return None
    low, high = np.percentile(thresholds, (2.5, 97.5))
    return float(low), float(high)
