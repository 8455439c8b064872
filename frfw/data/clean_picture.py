"""A picture of what `clean` found, for the eye to judge before a patch is applied."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np

from frfw.data.clean import Findings
from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage, encode, resize

_SIDE, _CAPTION, _COLUMNS = 84, 16, 6
Line = tuple[str, list[int], list[int]]  # caption, images of the set, images it was held against


def draw_worst(
    dataset: Dataset,
    found: Findings,
    path: str | Path,
    rows: int = 12,
    against: Dataset | None = None,
) -> None:
    """Write a PNG of the worst of each kind, a captioned row each; nothing when nothing was found.

    An outlier stands before others of its identity, a repeated image before what it repeats, an
    identity that is in the evaluation set before the image of `against` that it resembles.
    """
    kinds = _lines(dataset, found)
    lines = [line for turn in zip_longest(*kinds) for line in turn if line is not None][:rows]
    if not lines:
        return
    rank = {id(line): number for number, kind in enumerate(kinds) for line in kind}
    lines.sort(key=lambda line: rank[id(line)])
    picture = [_draw(dataset, against, line) for line in lines]
    Path(path).write_bytes(encode(np.concatenate(picture), ".png"))


def _lines(dataset: Dataset, found: Findings) -> list[list[Line]]:
    """The rows of each kind, worst first, as many as could ever be shown."""
    per, names = _images_of(dataset), dataset.identity_names
    label = dataset.labels
    outliers = [(i, f"outlier of {names[label[i]]}, {c:.2f}") for i, c in found.outliers[:12]]
    outliers += [(i, f"{a:.0f} degrees off, {names[label[i]]}") for i, a in found.noisy[:12]]
    return [
        [(text, [i, *(j for j in per(label[i]) if j != i)], []) for i, text in outliers],
        [
            (f"{names[label[i]]} = {names[label[j]]}, {c:.2f}", [i, j], [])
            for i, j, c in _one_a_pair(found, label)
        ],
        [
            (f"one person? {names[a]} = {names[b]}, {c:.2f}", per(a)[:3] + per(b)[:3], [])
            for a, b, c in found.merges[:12]
        ],
        [
            (f"{names[i]}, last: evaluation set, {c:.2f}", per(i)[: _COLUMNS - 1], [j])
            for i, c, j in found.overlaps[:12]
        ],
        [
            (f"repeated, {names[label[i]]}, {c:.2f}", [i, j], [])
            for i, j, c in found.duplicates[:12]
        ],
    ]


def _one_a_pair(found: Findings, label: np.ndarray) -> list[tuple[int, int, float]]:
    """The first few of `crossing`, one for each two identities: a whole copy is shown once."""
    pairs: dict[frozenset[int], tuple[int, int, float]] = {}
    for i, j, cosine in found.crossing[:1000]:
        pairs.setdefault(frozenset((int(label[i]), int(label[j]))), (i, j, cosine))
    return list(pairs.values())[:12]


def _images_of(dataset: Dataset):
    order = np.argsort(dataset.labels, kind="stable")
    starts = np.searchsorted(dataset.labels[order], np.arange(dataset.num_classes + 1))

    def images(identity: int) -> list[int]:
        start = starts[identity]
        return order[start : min(starts[identity + 1], start + _COLUMNS + 1)].tolist()

    return images


def _draw(dataset: Dataset, against: Dataset | None, line: Line) -> np.ndarray:
    text, mine, theirs = line
    row = np.full((_CAPTION + _SIDE, _COLUMNS * _SIDE, 3), 255, np.uint8)
    text = text.encode("ascii", "replace").decode()
    cv2.putText(row, text, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    tiles: Sequence[tuple[Dataset | None, int]] = [(dataset, i) for i in mine]
    tiles = [*tiles[: _COLUMNS - len(theirs)], *((against, i) for i in theirs)]
    for column, (source, index) in enumerate(tiles):
        try:
            if source is not None:
                at = column * _SIDE + 2
                row[_CAPTION + 2 : -2, at : at + _SIDE - 4] = resize(source[index], _SIDE - 4)
        except BadImage:
            continue
    return row
