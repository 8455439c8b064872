"""Find probable label errors with an embedder; write a patch and a picture, delete nothing."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage, resize
from frfw.data.patch import COLUMNS
from frfw.errors import FrfwError

Embed = Callable[[np.ndarray], np.ndarray]
_TILE = 2048


@dataclass
class Findings:
    """What looks wrong, worst first.

    Attributes:
        outliers: (image, cosine to the centre of the identity's other images).
        duplicates: (image, the earlier image of the same identity that it repeats, cosine).
        merges: (identity, identity, cosine of their centres): probably one person.
        overlaps: (identity, largest cosine of its centre to an image of the evaluation set).
        noisy: (image, degrees to the dominant sub-centre of its identity), see `subcenters`.
    """

    outliers: list[tuple[int, float]] = field(default_factory=list)
    duplicates: list[tuple[int, int, float]] = field(default_factory=list)
    merges: list[tuple[int, int, float]] = field(default_factory=list)
    overlaps: list[tuple[int, float]] = field(default_factory=list)
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
        duplicate: two images of one identity are the same picture when their cosine exceeds it.
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
    if against is not None:
        best = np.concatenate(
            [(centres[at : at + _TILE] @ against.T).max(1) for at in range(0, classes, _TILE)]
        )
        over = np.flatnonzero(best > merge)
        found.overlaps = sorted(((int(i), float(best[i])) for i in over), key=lambda p: -p[1])
    return found


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
        ("drop_image", i, "", "", mark, f"{a:.0f} degrees from the dominant sub-centre")
        for i, a in found.noisy
    ]
    rows += [
        ("merge_identity", "", names[b], names[a], mark, f"one person, cosine {c:.2f}")
        for a, b, c in found.merges
    ]
    rows += [
        ("drop_identity", "", names[i], "", mark, f"in the evaluation set, cosine {c:.2f}")
        for i, c in found.overlaps
    ]
    temporary = Path(f"{path}.partial")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    os.replace(temporary, path)
    return len(rows)


def draw_worst(dataset: Dataset, found: Findings, path: str | Path, rows: int = 8) -> None:
    """Picture: each row an outlier (first) with others of its identity, or two likely twins."""
    from frfw.data.decode import encode

    first = {label: np.flatnonzero(dataset.labels == label) for label in _labels(dataset, found)}
    lines = []
    for image, _ in [*found.outliers, *found.noisy][: rows // 2]:
        rest = [i for i in first[int(dataset.labels[image])].tolist() if i != image]
        lines.append([image, *rest[:5]])
    for a, b, _ in found.merges[: rows - len(lines)]:
        lines.append([*first[a][:3].tolist(), *first[b][:3].tolist()])
    if not lines:
        lines = [[i, j] for i, j, _ in found.duplicates[:rows]]
    if not lines:
        return
    sheet = np.full((len(lines), 6, 84, 84, 3), 255, np.uint8)
    for line, tiles in zip(lines, sheet):
        for index, tile in zip(line, tiles):
            try:
                tile[2:82, 2:82] = resize(dataset[int(index)], 80)
            except BadImage:
                continue
    picture = sheet.transpose(0, 2, 1, 3, 4).reshape(len(lines) * 84, 6 * 84, 3)
    Path(path).write_bytes(encode(picture, ".png"))


def _labels(dataset: Dataset, found: Findings) -> set[int]:
    images = [int(dataset.labels[i]) for i, _ in [*found.outliers, *found.noisy]]
    return {*images, *(a for a, _, _ in found.merges), *(b for _, b, _ in found.merges)}


def read_against(path: str | Path, size: int) -> np.ndarray:
    """Return (M, size, size, 3) images of an evaluation set: a `.bin` or any source."""
    from frfw.data.decode import decode
    from frfw.data.source import open_source
    from frfw.data.verification_pack import read_pack

    if str(path).endswith(".bin"):
        return np.stack([decode(data, size) for data in read_pack(path).images])
    dataset = open_source({"path": path, "size": size})
    if len(dataset) > 100_000:
        raise FrfwError(f"{path} has {len(dataset)} images: --against takes 100,000 at most")
    return np.stack([dataset[i] for i in range(len(dataset))])
