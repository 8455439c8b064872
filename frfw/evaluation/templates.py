"""IJB-B and IJB-C: templates pooled from images, 1:1 over millions of pairs, and 1:N.

Protocols of Whitelam et al., IJB-B, CVPR workshops 2017, and Maze et al., IJB-C, ICB 2018.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from frfw.errors import FrfwError
from frfw.evaluation.stream import ScoreStream, StreamResult
from frfw.evaluation.template_files import Media, read_template_pairs

FAR_TARGETS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_BLOCK = 256  # pairs scored at a time: their two blocks of rows stay in the cache


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
        return template_rows(self.ids, wanted, where)


def template_rows(
    ids: NDArray[np.int64], wanted: NDArray[np.integer], where: str
) -> NDArray[np.int64]:
    """Return the places of `wanted` in the rising `ids`; FrfwError names one that is not there."""
    place = np.minimum(np.searchsorted(ids, wanted), ids.size - 1)
    wrong = np.flatnonzero(ids[place] != wanted)
    if wrong.size:
        raise FrfwError(f"{where}: template {wanted[wrong[0]]} has no image")
    return place


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
        FrfwError: lengths differ, an embedding is not numbers or a template's sum is zero (its
            detector scores are); image or template is named.
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
    if not norm.all():
        raise FrfwError(
            f"template {ids[np.argmin(norm[:, 0])]} pools to zero: the detector scores of all its "
            "images are 0; detector_score=false lets every image weigh the same"
        )
    return Templates(ids, (sums / norm).astype(np.float32))


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
        FrfwError: the file cannot be read, names a template without images, or all its pairs are
            of one kind.
    """
    stream = ScoreStream()
    count = threads or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(count) as pool:
        for chunk in read_template_pairs(pairs):
            first, second = (templates.rows(chunk[:, side], str(pairs)) for side in (0, 1))
            scores = _score(templates.features, first, second, pool, count)
            stream.add(scores, chunk[:, 2] == 1)
    try:
        return stream.result(name, far_targets)
    except FrfwError as error:
        raise FrfwError(f"{pairs}: {error}") from error


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
