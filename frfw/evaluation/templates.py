"""IJB-B and IJB-C: templates pooled from images, 1:1 over millions of pairs, and 1:N.

Formats as insightface lays them out (`meta/ijbc_face_tid_mid.txt` and so on); protocols of
Whitelam et al., IJB-B, CVPR workshops 2017, and Maze et al., IJB-C, ICB 2018.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from frfw.errors import FrfwError
from frfw.evaluation.stream import ScoreStream, StreamResult

FAR_TARGETS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_CHUNK = 1 << 20  # pairs read at a time
_BLOCK = 256  # pairs scored at a time: their two blocks of rows stay in the cache


@dataclass(frozen=True)
class Media:
    """`face_tid_mid.txt`: which image belongs to which template and medium.

    Attributes:
        names: (M,) image files, in the order of the embeddings.
        templates, media: (M,) int64.
    """

    names: NDArray[np.str_]
    templates: NDArray[np.int64]
    media: NDArray[np.int64]


@dataclass(frozen=True)
class Templates:
    """Pooled templates.

    Attributes:
        ids: (T,) rising int64.
        features: (T, D) float32 of L2 norm 1.
    """

    ids: NDArray[np.int64]
    features: NDArray[np.float32]

    def rows(self, wanted: NDArray[np.integer], where: str) -> NDArray[np.int64]:
        """Return the rows of template ids; FrfwError names one that there is not."""
        place = np.minimum(np.searchsorted(self.ids, wanted), self.ids.size - 1)
        wrong = np.flatnonzero(self.ids[place] != wanted)
        if wrong.size:
            raise FrfwError(f"{where}: template {wanted[wrong[0]]} has no image")
        return place


def read_media(path: str | Path) -> Media:
    """Read `<image> <template> <medium>` lines; FrfwError if they are not so."""
    table = _table(Path(path), ["image", "template", "medium"], {0: str, 1: np.int64, 2: np.int64})
    names = table["image"].to_numpy(str)
    return Media(names, table["template"].to_numpy(), table["medium"].to_numpy())


def read_detections(path: str | Path) -> tuple[NDArray[np.str_], NDArray, NDArray]:
    """Read `<image> x1 y1 .. x5 y5 score` lines: (M,) names, (M, 5, 2) points, (M,) scores."""
    points = [f"{axis}{i}" for i in range(1, 6) for axis in "xy"]
    kinds = {0: str, **dict.fromkeys(range(1, 12), np.float64)}
    table = _table(Path(path), ["image", *points, "score"], kinds)
    landmarks = table[points].to_numpy().reshape(-1, 5, 2)
    return table["image"].to_numpy(str), landmarks, table["score"].to_numpy()


def read_subjects(path: str | Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read a 1:N list (`ijbc_1N_gallery_G1.csv`): TEMPLATE_ID, SUBJECT_ID, then anything.

    A template has a line for each of its images; each comes back once.
    """
    try:
        table = pd.read_csv(path, usecols=[0, 1], dtype=np.int64)
    except (OSError, ValueError) as error:
        raise FrfwError(f"{path}: not a list of TEMPLATE_ID,SUBJECT_ID ({error})") from error
    pairs = np.unique(table.to_numpy(), axis=0)
    ids, count = np.unique(pairs[:, 0], return_counts=True)
    if (count > 1).any():
        raise FrfwError(f"{path}: template {ids[np.argmax(count > 1)]} has two subjects")
    return pairs[:, 0], pairs[:, 1]


def pool_templates(
    embeddings: NDArray[np.floating],
    media: Media,
    *,
    detector_scores: NDArray[np.floating] | None = None,
    keep_norm: bool = True,
    media_pooling: bool = True,
) -> Templates:
    """Pool image embeddings into templates: mean over each medium, sum over media, L2 normalise.

    Args:
        embeddings: (M, D), not normalised (flip averaging already summed); may be memory-mapped.
        detector_scores: (M,) weight of each image ("use_detector_score"); None: all the same.
        keep_norm: let an embedding's norm weigh it ("use_norm_score"); False: normalise first.
        media_pooling: frames of a video count together as one image; False: each counts alone.

    Raises:
        FrfwError: lengths differ, or an embedding is not numbers; the image is named.
    """
    if len(embeddings) != media.templates.size:
        raise FrfwError(f"{len(embeddings)} embeddings for {media.templates.size} listed images")
    ids, template = np.unique(media.templates, return_inverse=True)
    weight = np.ones(template.size)
    if media_pooling:  # a mean over a medium is a weight of one over its number of images
        both = np.stack([media.templates, media.media])
        _, group, count = np.unique(both, axis=1, return_inverse=True, return_counts=True)
        weight /= count[group.reshape(-1)]
    if detector_scores is not None:
        weight *= detector_scores
    sums = np.zeros((ids.size, embeddings.shape[1]))
    for start in range(0, template.size, 8192):
        part = slice(start, start + 8192)
        rows = np.asarray(embeddings[part], np.float64)
        norm = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        bad = np.flatnonzero(~np.isfinite(norm) | (norm == 0))
        if bad.size:
            name = media.names[start + bad[0]]
            raise FrfwError(f"the embedding of image {name} is zero or not numbers")
        share = weight[part] if keep_norm else weight[part] / norm
        places = (template[part], np.arange(rows.shape[0]))
        sums += csr_matrix((share, places), shape=(ids.size, rows.shape[0])) @ rows
    norm = np.linalg.norm(sums, axis=1, keepdims=True)
    return Templates(ids, (sums / np.maximum(norm, np.finfo(np.float64).tiny)).astype(np.float32))


def verify_templates(
    templates: Templates,
    pairs: str | Path,
    *,
    name: str = "templates",
    far_targets: tuple[float, ...] = FAR_TARGETS,
    threads: int | None = None,
) -> StreamResult:
    """Score the pairs of `template_pair_label.txt` (`<template> <template> <1|0>` lines).

    The file is read and scored in pieces, so memory does not grow with its length.

    Args:
        threads: that score; None: the cores this process may use.

    Raises:
        FrfwError: the file cannot be read, or names a template without images.
    """
    stream = ScoreStream()
    count = threads or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(count) as pool:
        for chunk in read_template_pairs(pairs):
            first, second = (templates.rows(chunk[:, side], str(pairs)) for side in (0, 1))
            scores = _score(templates.features, first, second, pool, count)
            stream.add(scores, chunk[:, 2] == 1)
    return stream.result(name, far_targets)


def read_template_pairs(path: str | Path) -> Iterator[NDArray[np.int32]]:
    """Yield (N, 3) pieces of template, template, label; FrfwError if a line is not so."""
    try:
        reader = pd.read_csv(
            path, sep=" ", header=None, usecols=[0, 1, 2], dtype=np.int32, chunksize=_CHUNK
        )
        with reader:
            for table in reader:
                chunk = table.to_numpy()
                if not np.isin(chunk[:, 2], (0, 1)).all():
                    raise ValueError("a label is neither 0 nor 1")
                yield chunk
    except (OSError, ValueError) as error:
        raise FrfwError(f"{path}: not lines of `template template 0|1` ({error})") from error


def _score(
    features: NDArray[np.float32],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    pool: ThreadPoolExecutor,
    threads: int,
) -> NDArray[np.float32]:
    scores = np.empty(first.size, np.float32)

    def work(low: int, high: int) -> None:
        left = np.empty((_BLOCK, features.shape[1]), np.float32)
        right = np.empty_like(left)
        for start in range(low, high, _BLOCK):
            rows = slice(start, min(start + _BLOCK, high))
            size = rows.stop - rows.start
            x = np.take(features, first[rows], axis=0, out=left[:size], mode="clip")
            y = np.take(features, second[rows], axis=0, out=right[:size], mode="clip")
            np.einsum("ij,ij->i", x, y, out=scores[rows])

    bounds = [first.size * i // threads for i in range(threads + 1)]
    for done in [pool.submit(work, *bounds[i : i + 2]) for i in range(threads)]:
        done.result()
    return scores


def _table(path: Path, columns: list[str], kinds: dict[int, type]) -> pd.DataFrame:
    try:
        return pd.read_csv(
            path, sep=r"\s+", header=None, names=columns,
            dtype={columns[i]: kind for i, kind in kinds.items()}, index_col=False,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise FrfwError(f"{path}: not lines of `{' '.join(columns)}` ({error})") from error
