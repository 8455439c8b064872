"""Embeddings of a few identities for TensorBoard's projector, with thumbnails."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch

_THUMBNAIL = 48
_LARGEST_SPRITE = 8192  # pixels a side; the projector draws one texture
_logger = logging.getLogger(__name__)


def add_projector(
    writer: Any, step: int, name: str, embeddings: Any, labels: Sequence[Any], images: Any = None
) -> None:
    """Write embeddings, labels and a sprite of thumbnails where the projector finds them.

    Args:
        writer: a `SummaryWriter`; everything goes into its own folder, nothing is fetched.
        embeddings: (N, dim) array or tensor.
        labels: N identity names or numbers.
        images: (N, H, W, 3) uint8 RGB or None; drawn at 48 px, and left out, with a warning,
            where N is so large that the sprite would not fit into one texture.

    Raises:
        ValueError: the three do not have the same length.
    """
    matrix = torch.as_tensor(np.asarray(_on_host(embeddings), dtype=np.float32))
    names = [str(label).replace("\t", " ").replace("\n", " ") for label in labels]
    if len(names) != len(matrix) or (images is not None and len(images) != len(matrix)):
        pictures = "no" if images is None else len(images)
        raise ValueError(
            f"projector '{name}': {len(matrix)} embeddings, {len(names)} labels and "
            f"{pictures} images; give as many of each"
        )
    sprite = None
    if images is not None and len(matrix):
        side = int(np.ceil(np.sqrt(len(matrix))))
        if side * _THUMBNAIL <= _LARGEST_SPRITE:
            sprite = thumbnails(_on_host(images))
        else:
            _logger.warning("projector '%s': %d images are too many to draw", name, len(matrix))
    writer.add_embedding(matrix, names, sprite, global_step=step, tag=name)


def thumbnails(images: Any, size: int = _THUMBNAIL) -> torch.Tensor:
    """Shrink (N, H, W, 3) uint8 RGB to (N, 3, size, size) float in [0, 1]."""
    small = [
        cv2.resize(np.ascontiguousarray(image), (size, size), interpolation=cv2.INTER_AREA)
        for image in np.asarray(images)
    ]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255


def choose_identities(labels: Any, identities: int, images_each: int, seed: int = 0) -> np.ndarray:
    """Pick positions of a few identities with several images each: (<= identities * each,) int64.

    A function of (labels, seed), so that the projector shows the same faces at every step.
    """
    labels = np.asarray(labels)
    rng = np.random.default_rng([seed, 0x9E37])
    names, counts = np.unique(labels, return_counts=True)
    enough = names[counts >= min(images_each, int(counts.max(initial=0)))]
    chosen = rng.permutation(enough)[:identities]
    rows = [np.flatnonzero(labels == name)[:images_each] for name in chosen]
    return np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)


def _on_host(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
