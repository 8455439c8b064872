"""New head rows from the class means of the initial network's embeddings."""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import normalize

from frfw.data import BadImage
from frfw.errors import FrfwError

log = logging.getLogger("frfw.training")

HEADS = ("auto", "keep", "means", "random")
_ROW_STD = 0.01  # of a freshly drawn head, so that a row turns as fast as it would there


def choose_head(option: str, checkpoint: dict[str, Any] | None, dataset: Any) -> str:
    """Decide where the head's rows come from: "keep", "means" or "random".

    Args:
        option: `auto` keeps the checkpoint's head when the data are the same, and takes class
            means otherwise.
        checkpoint: content of our checkpoint, or None for public weights.

    Raises:
        FrfwError: unknown option, or nothing to keep.
    """
    if option not in HEADS:
        raise FrfwError(f"finetune.head={option}: choose one of {', '.join(HEADS)}")
    stored = (checkpoint or {}).get("data") or {}
    if option == "auto":
        same = stored.get("fingerprint") == dataset.fingerprint
        return "keep" if same and checkpoint is not None else "means"
    if option == "keep" and stored.get("classes") != dataset.num_classes:
        raise FrfwError(
            f"finetune.head=keep: the initial weights have {stored.get('classes', 'no')} classes, "
            f"the data {dataset.num_classes}; use finetune.head=means"
        )
    return option


def chosen_images(labels: np.ndarray, classes: int, per_class: int) -> list[np.ndarray]:
    """Return for each class up to `per_class` image indices, spread evenly over its images."""
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(classes + 1))
    chosen = []
    for start, stop in itertools.pairwise(bounds):
        count = min(per_class, stop - start)
        steps = (np.arange(count) * (stop - start)) // max(count, 1)
        chosen.append(order[start + steps])
    return chosen


@torch.no_grad()
def class_means(
    backbone: nn.Module,
    dataset: Any,
    preprocessing: Any,
    per_class: int = 20,
    batch_size: int = 128,
    *,
    held: tuple[int, int] | None = None,
    rank: int = 0,
    world: int = 1,
) -> Tensor:
    """Embed up to `per_class` images of each identity and return the mean directions.

    Args:
        held: (start, stop) of the classes wanted here, of which nothing is exchanged (ranks that
            each hold a range); None: all, for which the ranks share the images.

    Returns:
        (classes, dim) float32 on the backbone's device, rows of norm 1; zero rows for identities
        without images.
    """
    parameter = next(backbone.parameters())
    device, (start, stop) = parameter.device, held or (0, dataset.num_classes)
    chosen = chosen_images(np.asarray(dataset.labels), dataset.num_classes, per_class)
    share = chosen[start:stop] if held else chosen[rank::world]
    mine = np.concatenate([np.empty(0, np.int64), *share]).astype(np.int64)
    sums = torch.zeros(stop - start, backbone.embedding_dim, device=device)
    training = [m for m in backbone.modules() if m.training]
    backbone.eval()
    labels = torch.from_numpy(np.asarray(dataset.labels, np.int64)) - start
    for indices, images in _image_batches(dataset, mine, batch_size):
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        x = preprocessing.pixels(pixels, device, torch.contiguous_format)
        sums.index_add_(0, labels[indices].to(device), normalize(backbone(x).float()))
    for module in training:
        module.training = True
    if world > 1 and not held:
        dist.all_reduce(sums)
    return normalize(sums)


def _image_batches(
    dataset: Any, indices: np.ndarray, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (indices, (b, H, W, 3) uint8 images) but for bad ones; threads decode a batch ahead."""

    def read(index: int) -> np.ndarray | None:
        try:
            return dataset[index]
        except BadImage as error:
            log.warning("left out of its class mean: %s", error)
            return None

    pieces = [indices[at : at + batch_size] for at in range(0, len(indices), batch_size)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        ahead = [pool.submit(read, int(i)) for i in pieces[0]] if pieces else []
        for number, piece in enumerate(pieces):
            images = [future.result() for future in ahead]
            following = pieces[number + 1] if number + 1 < len(pieces) else ()
            ahead = [pool.submit(read, int(i)) for i in following]
            good = [at for at, image in enumerate(images) if image is not None]
            if good:
                yield piece[good], np.stack([images[at] for at in good])


@torch.no_grad()
def set_rows(head: nn.Module, means: Tensor) -> int:
    """Give the head its rows, scaled to the length of freshly drawn ones.

    Classes whose mean is zero keep their drawn row. Further sub-centres of a class start near the
    mean, turned aside by their own draw, so that they can part.

    Args:
        head: `weight` is (rows * K, dim), class-major; `formula.sub_centers` is K.
        means: (rows, dim) of `class_means`, of the classes that this head (or shard) holds.

    Returns:
        classes set.

    Raises:
        FrfwError: a head of another size than the means.
    """
    weight = head.weight
    centers = getattr(head.formula, "sub_centers", 1)
    rows = means.to(weight)
    if rows.shape != (weight.shape[0] // centers, weight.shape[1]):
        raise FrfwError(
            f"a head of {tuple(weight.shape)} cannot start from class means {tuple(means.shape)}"
        )
    length = _ROW_STD * math.sqrt(weight.shape[1])
    drawn = weight.view(-1, centers, weight.shape[1])
    placed = length * rows[:, None].repeat(1, centers, 1)
    placed[:, 1:] += 0.2 * drawn[:, 1:]
    known = rows.norm(dim=1) > 0
    drawn.copy_(torch.where(known[:, None, None], placed, drawn))
    return int(known.sum())
