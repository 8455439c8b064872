"""Find probable label errors with an embedder; write them as a patch, delete nothing."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage
from frfw.data.neighbours import close_across
from frfw.data.patch import COLUMNS
from frfw.errors import FrfwError

log = logging.getLogger("frfw.data")
Embed = Callable[[np.ndarray], np.ndarray]
_TILE = 2048


@dataclass
class Findings:
    """What looks wrong, worst first.

    Attributes:
        outliers: (image, cosine to the centre of the identity's other images).
        duplicates: (image, the earlier image of the same identity that it repeats, cosine).
        crossing: (image, image of another identity that shows the same picture, cosine); the first
            is the one that fits its own identity less.
        merges: (identity, identity, cosine of their centres): probably one person.
        overlaps: (identity, cosine to the evaluation set, which image there): of the identity's
            centre, or of one of its images where that is the same picture.
        noisy: (image, degrees to the dominant sub-centre of its identity), see `subcenters`.
    """

    outliers: list[tuple[int, float]] = field(default_factory=list)
    duplicates: list[tuple[int, int, float]] = field(default_factory=list)
    crossing: list[tuple[int, int, float]] = field(default_factory=list)
    merges: list[tuple[int, int, float]] = field(default_factory=list)
    overlaps: list[tuple[int, float, int]] = field(default_factory=list)
    noisy: list[tuple[int, float]] = field(default_factory=list)


def embed_dataset(
    dataset: Dataset,
    embed: Embed,
    batch: int = 256,
    progress: Callable[[int], object] = int,
) -> np.ndarray:
    """Return (N, dim) float32 unit embeddings; bad images are named in the log, their rows zero.

    Args:
        embed: (B, H, W, 3) uint8 RGB to (B, dim) unit rows, e.g. `frfw.load(RUN).embed`.

    Raises:
        FrfwError: no image is good.
    """
    blocks: list[tuple[list[int], np.ndarray]] = []
    for start in range(0, len(dataset), batch):
        images, good = [], []
        for index in range(start, min(start + batch, len(dataset))):
            try:
                images.append(dataset[index])
                good.append(index)
            except BadImage as error:
                log.warning("left out: %s", error)
        if images:
            blocks.append((good, embed(np.stack(images))))
        progress(min(start + batch, len(dataset)))
    if not blocks:
        raise FrfwError(f"{dataset.name}: none of its {len(dataset)} images can be read")
    rows = np.zeros((len(dataset), blocks[0][1].shape[1]), np.float32)
    for good, block in blocks:
        rows[good] = block
    return rows


def find_faults(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    outlier: float = 0.2,
    merge: float = 0.75,
    duplicate: float = 0.97,
    against: np.ndarray | None = None,
) -> Findings:
    """Compare images with their identities and identities with one another.

    Args:
        embeddings: (N, dim) unit rows, zero rows are left alone.
        labels: (N,) int64 0..C-1.
        outlier: an image is one when its cosine to the centre of the others falls below; only
            identities of three or more images are judged.
        merge: two identities are one person when their centres' cosine exceeds it; also used for
            `against`, (M, dim) unit rows of an evaluation set.
        duplicate: two images are the same picture when their cosine exceeds it, be they of one
            identity or of two.
    """
    found = Findings()
    known = np.abs(embeddings).sum(1) > 0
    classes = int(labels.max()) + 1
    sums = np.zeros((classes, embeddings.shape[1]), np.float32)
    np.add.at(sums, labels[known], embeddings[known])
    counts = np.bincount(labels[known], minlength=classes)
    others = _unit(sums[labels] - embeddings)
    cosine = np.einsum("nd,nd->n", others, embeddings)
    judged = known & (counts[labels] >= 3) & (cosine < outlier)
    found.outliers = sorted(
        ((int(i), float(cosine[i])) for i in np.flatnonzero(judged)), key=lambda pair: pair[1]
    )
    found.duplicates = _duplicates(embeddings, labels, duplicate)
    found.crossing = [
        (i, j, c) if cosine[i] <= cosine[j] else (j, i, c)
        for i, j, c in close_across(embeddings, labels, duplicate)
    ]
    centres = _unit(sums)
    found.merges = _close_pairs(centres, merge)
    if against is not None:
        alike = _overlaps(centres, against, merge)
        alike += [(int(labels[i]), c, j) for i, c, j in _overlaps(embeddings, against, duplicate)]
        best = {identity: (c, j) for identity, c, j in sorted(alike, key=lambda entry: entry[1])}
        found.overlaps = sorted(((i, *of) for i, of in best.items()), key=lambda entry: -entry[1])
    return found


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _overlaps(
    rows: np.ndarray, against: np.ndarray, threshold: float
) -> list[tuple[int, float, int]]:
    """(row, cosine, row of `against`) of the rows that have one above the threshold there."""
    found = []
    for start in range(0, len(rows), _TILE):
        cosine = rows[start : start + _TILE] @ against.T
        nearest = cosine.argmax(1)
        best = cosine[np.arange(len(cosine)), nearest]
        for row in np.flatnonzero(best > threshold).tolist():
            found.append((start + row, float(best[row]), int(nearest[row])))
    return found


def _duplicates(
    embeddings: np.ndarray, labels: np.ndarray, threshold: float
) -> list[tuple[int, int, float]]:
    order = np.argsort(labels, kind="stable")
    found = []
    for images in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        cosine = np.tril(embeddings[images] @ embeddings[images].T, -1)
        rows = np.flatnonzero(cosine.max(1) > threshold)
        for row in rows.tolist():
            column = int(cosine[row].argmax())
            found.append((int(images[row]), int(images[column]), float(cosine[row, column])))
    return sorted(found, key=lambda entry: -entry[2])


def _close_pairs(centres: np.ndarray, threshold: float) -> list[tuple[int, int, float]]:
    found = []
    for start in range(0, len(centres), _TILE):
        cosine = centres[start : start + _TILE] @ centres.T
        for row, column in np.argwhere(cosine > threshold).tolist():
            if column > start + row:
                found.append((start + row, column, float(cosine[row, column])))
    return sorted(found, key=lambda entry: -entry[2])


def write_patch(dataset: Dataset, found: Findings, path: str | Path) -> int:
    """Write the findings as rows that `data.patch` applies; returns their number."""
    names, mark = dataset.identity_names, dataset.fingerprint
    rows = [("drop_image", i, "", "", mark, f"outlier, cosine {c:.2f}") for i, c in found.outliers]
    rows += [
        ("drop_image", i, "", "", mark, f"repeats image {j}, cosine {c:.2f}")
        for i, j, c in found.duplicates
    ]
    rows += [
        (
            "drop_image",
            i,
            "",
            "",
            mark,
            f"as image {j} of {names[dataset.labels[j]]}, cosine {c:.2f}",
        )
        for i, j, c in found.crossing
    ]
    rows += [
        ("drop_image", i, "", "", mark, f"{a:.0f} degrees from the dominant sub-centre")
        for i, a in found.noisy
    ]
    rows += [
        ("merge_identity", "", names[b], names[a], mark, f"one person, cosine {c:.2f}")
        for a, b, c in found.merges
    ]
    rows += [
        ("drop_identity", "", names[i], "", mark, f"in the evaluation set, cosine {c:.2f}")
        for i, c, _ in found.overlaps
    ]
    temporary = Path(f"{path}.partial")
    # Names of folders that are not UTF-8 keep their bytes.
    with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    os.replace(temporary, path)
    return len(rows)
