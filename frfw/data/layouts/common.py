"""What a verification protocol says: which images are compared, in which fold, same or not."""

from __future__ import annotations

import os  # os.path.isfile is False, not an error, where a name is too long or holds a NUL
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
        skipped: pairs that were left out because an image of theirs is missing.
        missing: how many images are.
        kept: (P,) int64, the place of each pair in the protocol, skipped ones counted.
        lines: (P,) int64, the line of the protocol that each pair stands on, or None.
    """

    name: str
    paths: list[Path]
    pairs: np.ndarray
    same: np.ndarray
    fold: np.ndarray
    group: np.ndarray | None = None
    skipped: int = 0
    missing: int = 0
    kept: np.ndarray | None = None
    lines: np.ndarray | None = None


Row = tuple[Path, Path, bool, int]


def collect(
    name: str,
    rows: Iterable[Row],
    groups: Sequence[str] | None = None,
    skip_missing: bool = False,
) -> PairList:
    """Number the files of (a, b, same, fold) rows in order of appearance.

    Args:
        name: of the set, for messages.
        groups: the group of each row.
        skip_missing: leave out rows whose files are missing instead of refusing the list.

    Raises:
        FrfwError: no row is left, or files are missing (the first ten are named).
    """
    rows = list(rows)
    if not rows:
        raise FrfwError(f"{name}: the protocol lists no pair")
    present = {file: os.path.isfile(file) for row in rows for file in row[:2]}
    missing = [str(file) for file, there in present.items() if not there]
    if missing and not skip_missing:
        raise FrfwError(f"{name}: {list_missing(missing, len(present))}")
    kept = [at for at, row in enumerate(rows) if present[row[0]] and present[row[1]]]
    if not kept:
        raise FrfwError(f"{name}: it lists no pair whose images are here")
    numbers: dict[Path, int] = {}
    for at in kept:
        for file in rows[at][:2]:
            numbers.setdefault(file, len(numbers))
    return PairList(
        name,
        list(numbers),
        np.array([[numbers[file] for file in rows[at][:2]] for at in kept], np.int64),
        np.array([rows[at][2] for at in kept], bool),
        np.array([rows[at][3] for at in kept], np.int64),
        None if groups is None else np.array([groups[at] for at in kept]),
        skipped=len(rows) - len(kept),
        missing=len(missing),
        kept=np.array(kept, np.int64),
    )


def list_missing(missing: list[str], of: int) -> str:
    """Name up to ten missing images and say what to do about them."""
    more = "" if len(missing) <= 10 else f" and {len(missing) - 10} more"
    return (
        f"{len(missing)} of {of} images are missing: {', '.join(missing[:10])}{more}; "
        "--skip-missing (skip_missing=true) leaves them out"
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
    parts = _parts(relative)
    if not parts:
        raise FrfwError(f"{where}: {relative!r} leads out of {root}")
    return root.joinpath(*parts)


def _parts(relative: str) -> tuple[str, ...]:
    """Return the parts of a relative path, none where it is empty, absolute or climbs."""
    path = Path(relative.replace("\\", "/"))
    return () if path.is_absolute() or ".." in path.parts else path.parts


def beside(folder: Path, name: str) -> Path | None:
    """Return the file `name` in `folder` or in the one above it, None where there is none."""
    for place in (folder, folder.parent):
        if (place / name).is_file():
            return place / name
    return None


def folder_with(folder: Path, names: Iterable[str]) -> Path:
    """Return `folder`, or the first folder up to two levels below it that holds one of the images.

    Their suffix may be another: the same image as PNG counts.
    """
    if not folder.is_dir():
        raise FrfwError(f"{folder} is not a folder")
    stems = [stem for name in names if (stem := _parts(name.rsplit(".", 1)[0]))]
    for places in ([folder], folder.glob("*/"), folder.glob("*/*/")):
        for place in sorted(p for p in places if p.is_dir()):
            if any(os.path.isfile(with_suffix(place.joinpath(*stem))) for stem in stems):
                return place
    return folder


def number(text: str, where: str, low: int = 1) -> int:
    """Parse a whole number of at least `low`, or say where it is wrong."""
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < low:
        raise FrfwError(f"{where}: {text!r} is no number from {low} on")
    return int(text)


def with_suffix(stem: Path) -> Path:
    """Return the file `stem` with the image suffix that exists (.jpg where none does)."""
    jpg = stem.with_name(stem.name + ".jpg")
    if os.path.isfile(jpg):
        return jpg
    for suffix in sorted(IMAGE_SUFFIXES):
        path = stem.with_name(stem.name + suffix)
        if os.path.isfile(path):
            return path
    return jpg
