"""What is wrong with the lists of a template set, found before anything is embedded."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from frfw.errors import FrfwError
from frfw.evaluation.template_files import Media, read_template_pairs
from frfw.evaluation.templates import template_rows

_MOST = 1 << 16  # templates up to which pairs are remembered: two bit maps of 256 MiB


def check_media(media: Media, path: Path, allow_duplicates: bool) -> list[str]:
    """Refuse an image in two media of one template; return a note on lines that come twice."""
    lines = np.stack(
        [np.unique(media.names, return_inverse=True)[1].reshape(-1), media.templates, media.media]
    )
    seen = np.unique(lines, axis=1)
    twice = np.flatnonzero((np.diff(seen[:2], axis=1) == 0).all(axis=0))
    if twice.size and not allow_duplicates:
        image, template = seen[:2, twice[0]]
        at = np.flatnonzero((lines[0] == image) & (lines[1] == template)) + 1
        raise FrfwError(
            f"{path}: lines {at[0]} and {at[-1]} give {media.names[at[0] - 1]} two media of "
            f"template {template}; correct one of them, or set allow_duplicates=true to count both"
        )
    repeated = lines.shape[1] - seen.shape[1]
    return [f"{repeated} lines of {path.name} come more than once"] if repeated else []


def check_pairs(path: Path, ids: NDArray[np.int64], allow_duplicates: bool) -> list[str]:
    """Read the pairs of `template_pair_label.txt` through; return notes.

    Args:
        ids: (T,) rising templates that have images.

    Raises:
        FrfwError: a line is not so, an unknown template, all pairs of one kind, or (unless
            `allow_duplicates`) two templates called the same once and different once.
    """
    seen = _Seen(ids.size) if ids.size <= _MOST else None
    counts, at = np.zeros(2, np.int64), 0
    for chunk in read_template_pairs(path):
        sides = [template_rows(ids, chunk[:, side], str(path)) for side in (0, 1)]
        counts += np.bincount(chunk[:, 2], minlength=2)
        if seen is not None:
            disputed = seen.add(*sides, chunk[:, 2])
            if disputed is not None and not allow_duplicates:
                _refuse(path, chunk[disputed, :2])
        at += len(chunk)
    if not counts.all():
        kind = "same" if counts[1] else "different"
        raise FrfwError(
            f"{path}: all {at} pairs are '{kind}': error rates need pairs of both kinds"
        )
    if seen is None:
        return [f"more than {_MOST} templates: pairs that come twice were not looked for"]
    if not seen.repeated:
        return []
    return [f"{seen.repeated} pairs of {path.name} come more than once, the first on line "
            f"{seen.first + 1}"]  # fmt: skip


class _Seen:
    """Which pairs of T templates have come, by kind: a bit for each, whatever the file's length."""

    def __init__(self, count: int) -> None:
        self.bits = np.zeros((2, count * (count + 1) // 16 + 1), np.uint8)
        self.repeated, self.first, self._lines = 0, -1, 0

    def add(
        self, a: NDArray[np.int64], b: NDArray[np.int64], label: NDArray[np.integer]
    ) -> int | None:
        """Remember pairs; return the place of one that came with both labels, if any."""
        high = np.maximum(a, b)
        key = high * (high + 1) // 2 + np.minimum(a, b)
        again = np.ones(key.size, bool)
        for kind in (0, 1):
            rows = np.flatnonzero(label == kind)
            distinct, first = np.unique(key[rows], return_index=True)
            again[rows[first]] = self._has(kind, distinct)
            np.bitwise_or.at(self.bits[kind], distinct >> 3, _bit(distinct))
        if again.any() and not self.repeated:
            self.first = self._lines + int(np.argmax(again))
        self.repeated += int(again.sum())
        self._lines += key.size
        disputed = np.where(label == 1, self._has(0, key), self._has(1, key))
        return int(np.argmax(disputed)) if disputed.any() else None

    def _has(self, kind: int, key: NDArray[np.int64]) -> NDArray[np.bool_]:
        return (self.bits[kind][key >> 3] & _bit(key)) > 0


def _bit(key: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.left_shift(1, key & 7).astype(np.uint8)


def _refuse(path: Path, ends: NDArray[np.int32]) -> NoReturn:
    """Name the first two lines that contradict each other about a pair."""
    first: dict[int, int] = {}
    at = 1
    for chunk in read_template_pairs(path):
        alike = (np.sort(chunk[:, :2], axis=1) == np.sort(ends)).all(axis=1)
        for place in np.flatnonzero(alike):
            first.setdefault(int(chunk[place, 2]), at + int(place))
        at += len(chunk)
    low, high = sorted(first.values())
    raise FrfwError(
        f"{path}: lines {low} and {high} call templates {ends[0]} and {ends[1]} same and "
        "different; correct one of them, or set allow_duplicates=true to score both"
    )
