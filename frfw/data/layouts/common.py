"""What a verification protocol says: which images are compared, in which fold, same or not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frfw.data.decode import IMAGE_SUFFIXES
from frfw.errors import FrfwError


@dataclass
class PairList:
    """Pairs of image files.

    Attributes:
        name: name of the set, e.g. "cfp_fp".
        paths: (M,) image files.
        pairs: (P, 2) int64 positions in `paths`.
        same: (P,) bool.
        fold: (P,) int64, 0-based.
        group: (P,) names of groups to report apart, or None.
    """

    name: str
    paths: list[Path]
    pairs: np.ndarray
    same: np.ndarray
    fold: np.ndarray
    group: np.ndarray | None = None


Row = tuple[Path, Path, bool, int]


def collect(name: str, rows: Iterable[Row], groups: Sequence[str] | None = None) -> PairList:
    """Number the files of (a, b, same, fold) rows in order of appearance.

    Raises:
        FrfwError: no row, a missing file (the first five are named), or a path that leads out of
            the data set.
    """
    numbers: dict[Path, int] = {}
    pairs, same, fold = [], [], []
    for a, b, is_same, fold_number in rows:
        pairs.append([numbers.setdefault(p, len(numbers)) for p in (a, b)])
        same.append(is_same)
        fold.append(fold_number)
    if not pairs:
        raise FrfwError(f"{name}: the protocol lists no pair")
    missing = [str(path) for path in numbers if not path.is_file()]
    if missing:
        raise FrfwError(
            f"{name}: {len(missing)} of {len(numbers)} images that the protocol lists are "
            f"missing, e.g. {', '.join(missing[:5])}"
        )
    return PairList(
        name,
        list(numbers),
        np.array(pairs, np.int64).reshape(-1, 2),
        np.array(same, bool),
        np.array(fold, np.int64),
        None if groups is None else np.array(groups),
    )


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file without their ends; FrfwError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise FrfwError(f"{path} is missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise FrfwError(f"{path} cannot be read as text: {error}") from error


def inside(root: Path, relative: str, where: str) -> Path:
    """Return root / relative, refusing a path that leads out of `root`."""
    parts = Path(relative.replace("\\", "/")).parts
    if ".." in parts or Path(relative).is_absolute() or not parts:
        raise FrfwError(f"{where}: {relative!r} leads out of {root}")
    return root.joinpath(*parts)


def number(text: str, where: str, low: int = 1) -> int:
    """Parse a whole number of at least `low`, or say where it is wrong."""
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < low:
        raise FrfwError(f"{where}: {text!r} is no number from {low} on")
    return int(text)


def with_suffix(stem: Path) -> Path:
    """Return the file `stem` with the image suffix that exists (.jpg where none does)."""
    jpg = stem.with_name(stem.name + ".jpg")
    if jpg.is_file():
        return jpg
    for suffix in sorted(IMAGE_SUFFIXES):
        path = stem.with_name(stem.name + suffix)
        if path.is_file():
            return path
    return jpg
