"""What a verification gives: figures, the scores behind them, and their files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frfw.errors import FrfwError
from frfw.evaluation.arrays import read_npz
from frfw.evaluation.metrics import OperatingPoint, Roc, roc, split_scores

_ARRAYS = (
    "fold_accuracies",
    "fold_thresholds",
    "exact_fold_accuracies",
    "exact_fold_thresholds",
)
_PER_PAIR = ("scores", "same", "folds", "pairs")


@dataclass
class VerificationResult:
    """Figures of one pair set.

    Attributes:
        name: of the pair set.
        accuracy, std, fold_accuracies, fold_thresholds: insightface's 10-fold figures (F,);
            thresholds are on the squared distance.
        standard_error: of `accuracy`.
        exact_accuracy, exact_fold_accuracies, exact_fold_thresholds: the same without the grid.
        auc, eer: area under the ROC curve, equal error rate.
        operating_points: one for every FAR target, with its TAR, threshold (cosine) and note.
        intervals: 95 % bootstrap intervals by figure, (low, high); empty when not asked for.
        groups: figures of each group of pairs; empty without groups.
        details: what the figures were made from (model, data, flip, skipped images ...).
        scores, same, folds: (P,) cosine, bool, fold of every pair.
        pairs: (P, 2) image indices into the pair set, or None.
    """

    name: str
    accuracy: float
    std: float
    standard_error: float
    fold_accuracies: NDArray[np.float64]
    fold_thresholds: NDArray[np.float64]
    exact_accuracy: float
    exact_fold_accuracies: NDArray[np.float64]
    exact_fold_thresholds: NDArray[np.float64]
    auc: float
    eer: float
    operating_points: tuple[OperatingPoint, ...]
    scores: NDArray[np.floating] = field(repr=False)
    same: NDArray[np.bool_] = field(repr=False)
    folds: NDArray[np.integer] = field(repr=False)
    pairs: NDArray[np.integer] | None = field(default=None, repr=False)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def tar_at_far(self) -> dict[float, float | None]:
        """TAR by FAR target; None where the impostors are too few (see `notes`)."""
        return {point.target: point.tar for point in self.operating_points}

    @property
    def far_thresholds(self) -> dict[float, float | None]:
        """Cosine threshold by FAR target: accept where cosine >= threshold."""
        return {point.target: point.threshold for point in self.operating_points}

    @property
    def notes(self) -> list[str]:
        """What a reader must know of the figures."""
        return [point.note for point in self.operating_points if point.note]

    @property
    def threshold(self) -> float:
        """Mean over folds of the squared-distance threshold, as one operating point to show."""
        return float(np.mean(self.fold_thresholds))

    def roc(self) -> Roc:
        """Return the exact ROC curve."""
        return roc(*split_scores(self.scores, self.same))

    def to_dict(self, scores: bool = True) -> dict[str, Any]:
        """Return plain types, fit for JSON; without the per-pair arrays if not `scores`."""
        values = {
            key: value
            for key, value in self.__dict__.items()
            if key not in (*_ARRAYS, *_PER_PAIR, "operating_points")
        }
        values["intervals"] = {key: list(pair) for key, pair in self.intervals.items()}
        values["operating_points"] = [asdict(point) for point in self.operating_points]
        values |= {key: getattr(self, key).tolist() for key in _ARRAYS}
        values["pair_count"] = int(self.same.size)
        if scores:
            values |= {key: _plain(getattr(self, key)) for key in _PER_PAIR}
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> VerificationResult:
        """Build it from `to_dict`'s result."""
        missing = [key for key in ("scores", "same", "folds") if values.get(key) is None]
        if missing:
            raise FrfwError(f"verification result without {', '.join(missing)}: no scores kept")
        kept = {key: value for key, value in values.items() if key != "pair_count"}
        kept |= {key: np.asarray(kept[key], dtype=np.float64) for key in _ARRAYS}
        kept["scores"] = np.asarray(kept["scores"])
        kept["same"] = np.asarray(kept["same"], dtype=bool)
        kept["folds"] = np.asarray(kept["folds"], dtype=np.int64)
        if kept.get("pairs") is not None:
            kept["pairs"] = np.asarray(kept["pairs"], dtype=np.int64)
        kept["operating_points"] = tuple(OperatingPoint(**p) for p in kept["operating_points"])
        kept["intervals"] = {key: tuple(pair) for key, pair in kept["intervals"].items()}
        return cls(**kept)

    def save(self, folder: str | Path) -> Path:
        """Write `<name>.json` (figures) and `<name>.npz` (scores); return the path of the json."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"scores": self.scores, "same": self.same, "folds": self.folds.astype(np.int32)}
        if self.pairs is not None:
            arrays["pairs"] = self.pairs.astype(np.int32)
        np.savez_compressed(folder / f"{self.name}.npz", **arrays)
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps(self.to_dict(scores=False), indent=1) + "\n")
        return path

    @classmethod
    def load(cls, path: str | Path) -> VerificationResult:
        """Read what `save` wrote, from the path of the json.

        Raises:
            FrfwError: one of the two files is missing or is not such a file.
        """
        path = Path(path)
        try:
            values = json.loads(path.read_text()) | read_npz(path.with_suffix(".npz"))
            return cls.from_dict(values)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise FrfwError(
                f"{path}: not a saved verification result ({error}); evaluate again"
            ) from error


def _plain(values: NDArray[Any] | None) -> list[Any] | None:
    if values is None:
        return None
    if values.dtype.kind == "f":  # 17 digits of a float64 score say nothing that float32 does not
        return [float(f"{value:.9g}") for value in values]
    return values.tolist()
