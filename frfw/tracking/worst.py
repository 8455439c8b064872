"""The pairs that a network got most wrong, kept as small pictures for the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from frfw.errors import FrfwError

_SIDE = 112


@dataclass
class WorstPairs:
    """Pairs of one verification set, the worst first.

    Attributes:
        left, right: (N, H, W, 3) uint8 RGB.
        scores: (N,) cosine.
        same: (N,) bool; True: a false reject, False: a false accept.
        pairs: (N,) positions in the pair list.
    """

    left: np.ndarray
    right: np.ndarray
    scores: np.ndarray
    same: np.ndarray
    pairs: np.ndarray


def worst_positions(
    scores: np.ndarray, same: np.ndarray, threshold: float, count: int
) -> np.ndarray:
    """Return up to `count` false accepts, then up to `count` false rejects, the worst first.

    A pair is accepted where its score is at least `threshold`. Right decisions are never listed.
    """
    scores, same = np.asarray(scores), np.asarray(same, dtype=bool)
    order = np.argsort(scores, kind="stable")
    accepts = [i for i in order[::-1] if not same[i] and scores[i] >= threshold][:count]
    rejects = [i for i in order if same[i] and scores[i] < threshold][:count]
    return np.array([*accepts, *rejects], dtype=np.int64)


def store_worst(
    folder: str | Path,
    name: str,
    scores: np.ndarray,
    same: np.ndarray,
    pairs: np.ndarray,
    read_image: Callable[[int], np.ndarray],
    threshold: float,
    count: int = 6,
) -> Path:
    """Write `<name>_worst.npz` into a run's `evaluation` folder, for the report to show.

    Args:
        scores, same: (P,) cosine and truth of every pair.
        pairs: (P, 2) image indices.
        read_image: gives image i as (H, W, 3) uint8 RGB; called for the chosen pairs only.
        threshold: cosine at and above which a pair is accepted.
        count: pairs of each kind.
    """
    chosen = worst_positions(scores, same, threshold, count)
    pairs = np.asarray(pairs)
    sides = [[_shrink(read_image(int(pairs[p, side]))) for p in chosen] for side in (0, 1)]
    empty = np.empty((0, _SIDE, _SIDE, 3), dtype=np.uint8)
    path = Path(folder) / f"{name}_worst.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        left=np.stack(sides[0]) if len(chosen) else empty,
        right=np.stack(sides[1]) if len(chosen) else empty,
        scores=np.asarray(scores)[chosen],
        same=np.asarray(same)[chosen],
        pairs=chosen,
    )
    return path


def load_worst(path: str | Path) -> WorstPairs | None:
    """Read what `store_worst` wrote, or return None where there is no such file.

    Raises:
        FrfwError: the file is there and does not hold pairs.
    """
    if not Path(path).is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as kept:
            return WorstPairs(**{k: kept[k] for k in ("left", "right", "scores", "same", "pairs")})
    except Exception as error:  # a damaged archive raises nearly anything in there
        raise FrfwError(f"{path} is damaged: no pairs can be read from it") from error


def _shrink(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image, dtype=np.uint8)
    if image.shape[:2] == (_SIDE, _SIDE):
        return image
    return cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
