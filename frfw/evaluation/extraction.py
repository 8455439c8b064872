"""Images to embeddings: in batches, mirrored too, in mixed precision, shared among the ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from frfw.errors import FrfwError, nearest
from frfw.evaluation.images import ImageList

Embed = Callable[[Tensor], Tensor]
Stop = Callable[[], Any]  # true when to stop; asked on every rank alike, so it may be a collective

_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Stopped(Exception):
    """The caller's `stop` said so between two batches."""


@dataclass(frozen=True)
class Extraction:
    """How embeddings are made.

    Attributes:
        size: side of the square images in pixels.
        flip: add the embedding of the mirrored image before normalising.
        batch_size: images a forward pass takes.
        precision: fp32, bf16 or fp16 (autocast).
        device: what the embedding function computes on; decides autocast.
        workers: threads that decode images.
        progress: show a bar on a terminal.
    """

    size: int = 112
    flip: bool = True
    batch_size: int = 64
    precision: str = "fp32"
    device: str = "cpu"
    workers: int = 2
    progress: bool = False

    def __post_init__(self) -> None:
        if self.precision not in _DTYPES:
            raise FrfwError(
                f"precision={self.precision}: there is none.{nearest(self.precision, _DTYPES)} "
                "Choose fp32, bf16 or fp16"
            )
        if self.batch_size < 1:
            raise FrfwError(f"batch_size={self.batch_size}: at least 1 is needed")


def extract(
    embed: Embed,
    images: ImageList,
    how: Extraction,
    change: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]] | None = None,
    normalise: bool = True,
    stop: Stop | None = None,
) -> NDArray[np.float32]:
    """Embed all images, in order, on every rank of the process group that is up, if one is.

    Rank r of w takes the images [r M / w, (r + 1) M / w); every rank gets all embeddings. What
    goes wrong on one rank is raised on all, so that none waits for ever.

    Args:
        embed: (B, 3, H, W) uint8 RGB to (B, D) embeddings, not normalised; its own device.
        images: M images.
        change: (image, its index) to the image to embed instead (the robustness protocol).
        normalise: to L2 norm 1; False keeps the norm, which template pooling can use.
        stop: asked after every batch, equally often on every rank.

    Returns:
        (M, D) float32.

    Raises:
        Stopped: `stop` returned something true.
        FrfwError: an image cannot be read, or its embedding is not numbers; it is named.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if _grouped() else (0, 1)
    bounds = [len(images) * r // world for r in range(world + 1)]
    mine: NDArray[np.float32] | None = None
    failure: BaseException | None = None
    asks = _Asks(stop, -(-max(b - a for a, b in pairwise(bounds)) // how.batch_size))
    try:
        mine = _extract_range(embed, images, how, change, bounds[rank], bounds[rank + 1], asks)
    except Stopped:
        raise
    except Exception as error:
        failure = error
        if world == 1:
            raise
    if world > 1:
        asks.rest()
        mine = _gather(mine, failure, bounds, how.device)
    return _unit(mine) if normalise else mine


class _Asks:
    """Asks `stop` once a batch, and on ranks with fewer batches (or a failure) the times left."""

    def __init__(self, stop: Stop | None, times: int) -> None:
        self._stop, self._left = stop, times if stop is not None else 0

    def once(self) -> None:
        """Ask; raise Stopped when told to."""
        if self._left > 0:
            self._left -= 1
            if self._stop():
                raise Stopped

    def rest(self) -> None:
        """Ask as often as the other ranks still do."""
        while self._left > 0:
            self.once()


def _extract_range(
    embed: Embed,
    images: ImageList,
    how: Extraction,
    change: Any,
    start: int,
    stop: int,
    asks: _Asks,
) -> NDArray[np.float32]:
    parts = []
    off = None if how.progress and start == 0 else True  # None: shown on a terminal only
    bar = tqdm(
        total=stop - start, desc=Path(images.where).stem, unit="img", disable=off, leave=False
    )
    for first, pixels in _batches(images, how, change, start, stop):
        rows = _forward(embed, pixels, how)
        bad = ~np.isfinite(rows).all(axis=1)
        if bad.any():
            where = images.locate(first + int(np.argmax(bad)))
            raise FrfwError(f"{where}: its embedding is not numbers (NaN or infinity)")
        parts.append(rows)
        bar.update(len(rows))
        asks.once()
    bar.close()
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


@torch.inference_mode()
def _forward(embed: Embed, pixels: NDArray[np.uint8], how: Extraction) -> NDArray[np.float32]:
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    dtype = _DTYPES[how.precision]
    kind = torch.device(how.device).type
    with torch.autocast(kind, dtype) if dtype else nullcontext():
        y = embed(x).float()
        if how.flip:
            y = y + embed(x.flip(3)).float()
    return y.cpu().numpy()


def _batches(
    images: ImageList, how: Extraction, change: Any, start: int, stop: int
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (first index, (B, H, W, 3) uint8), decoding the next batch while one is used."""

    def read(index: int) -> NDArray[np.uint8]:
        image = images.read(index, how.size)
        return image if change is None else change(image, index)

    with ThreadPoolExecutor(max(1, how.workers)) as pool:
        firsts = iter(range(start, stop, how.batch_size))
        ahead = [(f, _submit(pool, read, f, stop, how)) for f in islice(firsts, 2)]
        while ahead:
            first, tasks = ahead.pop(0)
            batch = np.stack([task.result() for task in tasks])
            ahead += [(f, _submit(pool, read, f, stop, how)) for f in islice(firsts, 1)]
            yield first, batch


def _submit(pool: ThreadPoolExecutor, read: Any, first: int, stop: int, how: Extraction) -> list:
    return [pool.submit(read, i) for i in range(first, min(first + how.batch_size, stop))]


def _gather(
    mine: NDArray[np.float32] | None,
    failure: BaseException | None,
    bounds: list[int],
    device: str,
) -> NDArray[np.float32]:
    """Put the ranks' rows together in order; raise everywhere what failed anywhere."""
    told: list[Any] = [None] * (len(bounds) - 1)
    width = 0 if mine is None or not len(mine) else mine.shape[1]
    dist.all_gather_object(told, (width, None if failure is None else str(failure)))
    if failure is not None:
        raise failure
    for rank, (_, message) in enumerate(told):
        if message is not None:
            raise FrfwError(f"process {rank} could not embed its share: {message}")
    width = max(w for w, _ in told)
    longest = max(b - a for a, b in pairwise(bounds))
    block = torch.zeros((longest, width), dtype=torch.float32)
    if len(mine):
        block[: len(mine)] = torch.from_numpy(mine)
    block = block.to(device if dist.get_backend() == "nccl" else "cpu")
    blocks = [torch.empty_like(block) for _ in told]
    dist.all_gather(blocks, block)
    sizes = [b - a for a, b in pairwise(bounds)]
    return torch.cat([part[:size] for part, size in zip(blocks, sizes)]).cpu().numpy()


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(norm, np.finfo(np.float32).tiny)
