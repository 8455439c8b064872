"""The picture of what `clean` found, and the evaluation images that it is compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from frfw.data.clean import Findings
from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage, decode, encode, resize
from frfw.data.source import open_source
from frfw.data.verification_pack import read_pack
from frfw.errors import FrfwError

_ACROSS, _TILE = 6, 84  # pictures in a row, pixels of each with its frame
_MOST_AGAINST = 100_000
_BLUE = (60, 110, 220)  # frame of an image of the evaluation set


def draw_worst(
    dataset: Dataset,
    found: Findings,
    path: str | Path,
    rows: int = 8,
    against: np.ndarray | None = None,
) -> None:
    """Picture: a row a finding, a share of the rows for each kind.

    An outlier (first) with others of its identity; two identities that are likely one; an identity
    with the evaluation image (framed blue) that it is too close to; the same picture twice.

    Args:
        against: (M, H, W, 3) evaluation images that `found.overlaps` counts in.
    """
    lines = _lines(dataset, found, rows, against)
    if not lines:
        return
    sheet = np.full((len(lines), _ACROSS, _TILE, _TILE, 3), 255, np.uint8)
    for line, tiles in zip(lines, sheet):
        for item, tile in zip(line, tiles):
            try:
                image = item if isinstance(item, np.ndarray) else dataset[item]
            except BadImage:
                continue
            if isinstance(item, np.ndarray):
                tile[...] = _BLUE
            tile[2:-2, 2:-2] = resize(image, _TILE - 4)
    picture = sheet.transpose(0, 2, 1, 3, 4).reshape(len(lines) * _TILE, _ACROSS * _TILE, 3)
    Path(path).write_bytes(encode(picture, ".png"))


def _lines(
    dataset: Dataset, found: Findings, rows: int, against: np.ndarray | None
) -> list[list[int | np.ndarray]]:
    """What each row shows: image numbers, or pixels of the evaluation set."""

    def of(identity: int) -> list[int]:
        return np.flatnonzero(dataset.labels == identity)[:_ACROSS].tolist()

    kinds: list[list[list[int | np.ndarray]]] = [
        [
            [i, *[k for k in of(int(dataset.labels[i])) if k != i][: _ACROSS - 1]]
            for i, _ in [*found.outliers, *found.noisy][:rows]
        ],
        [[*of(a)[:3], *of(b)[:3]] for a, b, _ in found.merges[:rows]],
        [
            [against[j], *of(identity)[: _ACROSS - 1]]
            for identity, _, j in found.overlaps[:rows]
            if against is not None
        ],
        [[i, j] for i, j, _ in [*found.across, *found.duplicates][:rows]],
    ]
    lines: list[list[int | np.ndarray]] = []
    while len(lines) < rows and any(kinds):
        lines += [kind.pop(0) for kind in kinds if kind]
    return lines[:rows]


def read_against(path: str | Path, size: int) -> tuple[np.ndarray, list[str]]:
    """Return (M, size, size, 3) images of an evaluation set, and a line for each bad one.

    Args:
        path: a `.bin` or any source.

    Raises:
        FrfwError: too many images, or none that can be read.
    """
    images, bad = [], []
    if str(path).endswith(".bin"):
        encoded = read_pack(path).images
        total, read = len(encoded), lambda i: decode(encoded[i], size)
    else:
        dataset = open_source({"path": path, "size": size})
        total, read = len(dataset), dataset.__getitem__
    if total > _MOST_AGAINST:
        raise FrfwError(f"{path} has {total} images: --against takes {_MOST_AGAINST:,} at most")
    for index in range(total):
        try:
            images.append(read(index))
        except BadImage as error:
            bad.append(f"image {index} of {path}: {error}")
    if not images:
        raise FrfwError(f"{path}: no image of it can be read ({bad[0] if bad else 'it is empty'})")
    return np.stack(images), bad
