"""Find probable label errors with an embedder; write a patch and a picture, delete nothing."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage
from frfw.data.patch import COLUMNS

Embed = Callable[[np.ndarray], np.ndarray]
_TILE = 2048
MOST_ACROSS = 200_000  # images that are compared each with each: minutes


@dataclass
class Findings:
    """What looks wrong, worst first.

    Attributes:
        outliers: (image, cosine to the centre of the identity's other images).
        duplicates: (image, the earlier image of the same identity that it repeats, cosine).
        merges: (identity, identity, cosine of their centres): probably one person.
        across: (image, the image of another identity that is the same picture, cosine): of the two
            the first fits its own identity less well.
        overlaps: (identity, largest cosine of its centre to an image of the evaluation set, which).
        noisy: (image, degrees to the dominant sub-centre of its identity), see `subcenters`.
    """

    outliers: list[tuple[int, float]] = field(default_factory=list)
    duplicates: list[tuple[int, int, float]] = field(default_factory=list)
    merges: list[tuple[int, int, float]] = field(default_factory=list)
    across: list[tuple[int, int, float]] = field(default_factory=list)
    overlaps: list[tuple[int, float, int]] = field(default_factory=list)
    noisy: list[tuple[int, float]] = field(default_factory=list)


def embed_dataset(
    dataset: Dataset,
    embed: Embed,
    batch: int = 256,
    progress: Callable[[int], object] = int,
) -> np.ndarray:
    """Return (N, dim) float32 unit embeddings; the rows of bad images are zero.

    Args:
        embed: (B, H, W, 3) uint8 RGB to (B, dim) unit rows, e.g. `frfw.load(RUN).embed`.
    """
    rows: list[np.ndarray] = []
    for start in range(0, len(dataset), batch):
        images, good = [], []
        for index in range(start, min(start + batch, len(dataset))):
            try:
                images.append(dataset[index])
                good.append(index - start)
            except BadImage:
                continue
        block = embed(np.stack(images)) if images else np.zeros((0, rows[0].shape[1]))
        whole = np.zeros((min(batch, len(dataset) - start), block.shape[1]), np.float32)
        whole[good] = block
        rows.append(whole)
        progress(start + len(whole))
    return np.concatenate(rows)


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
        duplicate: two images are the same picture when their cosine exceeds it. Across identities
            they are looked for among up to `MOST_ACROSS` images, unless the identities are one
            person anyway.
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
    centres = _unit(sums)
    found.merges = _close_pairs(centres, merge)
    if len(labels) <= MOST_ACROSS:
        twins = {frozenset(pair[:2]) for pair in found.merges}
        found.across = [
            (i, j, c) if cosine[i] <= cosine[j] else (j, i, c)
            for i, j, c in _close_pairs(embeddings, duplicate)
            if labels[i] != labels[j] and frozenset((labels[i], labels[j])) not in twins
        ]
    if against is not None:
        found.overlaps = _overlaps(centres, against, merge)
    return found


def _overlaps(
    centres: np.ndarray, against: np.ndarray, threshold: float
) -> list[tuple[int, float, int]]:
    found = []
    for at in range(0, len(centres), _TILE):
        cosine = centres[at : at + _TILE] @ against.T
        nearest = cosine.argmax(1)
        best = cosine[np.arange(len(cosine)), nearest]
        over = np.flatnonzero(best > threshold)
        found += [(at + int(i), float(best[i]), int(nearest[i])) for i in over]
    return sorted(found, key=lambda entry: -entry[1])


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


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
    found, rows = [], max(64, min(_TILE, 2**25 // len(centres)))
    for start in range(0, len(centres), rows):
        cosine = centres[start : start + rows] @ centres[start:].T  # the other half is the same
        for row, column in np.argwhere(np.triu(cosine, 1) > threshold).tolist():
            found.append((start + row, start + column, float(cosine[row, column])))
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
        ("drop_image", i, "", "", mark, f"repeats image {j} of another identity, cosine {c:.2f}")
        for i, j, c in found.across
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
    with temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    os.replace(temporary, path)
    return len(rows)
