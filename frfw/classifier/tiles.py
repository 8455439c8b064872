"""How the B x C matrix is cut: ranges of classes, blocks of rows in them, and where targets lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from frfw.errors import FrfwError

DEFAULT_BUDGET = 1 << 30
# Measured on the CPU (docs/classifier.md). Plain operations: a tile of weights and its gradient
# stay in the cache, the blocks of rows in which its elements are worked on in the inner one.
# Compiled loops read a tile twice only; fewer and larger tiles save the calls around them.
_CPU_CLASSES, _CPU_BLOCK = 1024, 1 << 17
_CPU_CLASSES_COMPILED = 16384
_CPU_TILE = 1 << 22  # elements of a tile at most, so that memory does not grow with the batch
# On a GPU a tile must be large enough to fill the device; it is worked on as one block.
_GPU_TILE = 1 << 25
_GPU_WEIGHTS = 1 << 26  # numbers of a tile's weights at most, which half precision copies
_FEWEST_CLASSES = 64


@dataclass(frozen=True)
class TilePlan:
    """Sizes of the tiles for a batch.

    Attributes:
        classes: classes of a tile.
        rows: samples of a block.
        keep: one (B, C) buffer is kept from forward to backward (three matrix products a step);
            otherwise backward computes the cosines again (four).
    """

    classes: int
    rows: int
    keep: bool


def plan_tiles(
    batch: int,
    classes: int,
    sub_centers: int,
    itemsize: int,
    cuda: bool,
    budget: int | None,
    compiled: bool = False,
    dim: int = 512,
) -> TilePlan:
    """Choose tile sizes within a memory budget.

    Args:
        batch: samples whose cosines are computed here (the global batch of a sharded head); 0 on a
            process without a sample.
        classes: classes computed here.
        itemsize: bytes of a number.
        budget: bytes for tiles and, if it fits, the kept buffer; None: 1 GiB; 0: nothing is kept,
            tiles have their usual size (a few MB). A tile has at least 64 classes, whatever the
            budget.
        compiled: the tiles are worked on by compiled loops.
        dim: width of the embeddings; on a GPU a small batch's tile is bounded by its weights.
    """
    budget = DEFAULT_BUDGET if budget is None else budget
    batch = max(1, batch)
    on_cpu = _CPU_CLASSES_COMPILED if compiled else _CPU_CLASSES
    on_gpu = min(_GPU_TILE // batch, _GPU_WEIGHTS // dim)
    wide = on_gpu if cuda else min(on_cpu, _CPU_TILE // batch)
    wide = max(_FEWEST_CLASSES, wide // sub_centers)
    per_class = tile_bytes(batch, 1, sub_centers, itemsize)
    if budget:
        wide = max(_FEWEST_CLASSES, min(wide, budget // per_class))
    wide = min(wide - wide % _FEWEST_CLASSES, classes)  # matrix units want rows that are aligned
    kept = batch * classes * sub_centers * itemsize
    keep = kept + per_class * wide <= budget
    rows = batch if cuda else max(1, min(batch, _CPU_BLOCK // (wide * sub_centers)))
    return TilePlan(wide, rows, keep)


def tile_bytes(batch: int, classes: int, sub_centers: int, itemsize: int) -> int:
    """Bytes of the cosines of a tile and of a copy of them."""
    return 2 * batch * classes * sub_centers * itemsize


def parse_budget(value: int | float | str | None) -> int | None:
    """Read "500MB", "1.5GiB", a number of bytes, or None.

    Raises:
        FrfwError: neither.
    """
    if value is None:
        return None
    text = str(value).strip().lower()
    units = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
    factor = 1
    for unit, size in units.items():
        if text.endswith(unit):
            text, factor = text[: -len(unit)], size
            break
    try:
        number = float(text) * factor
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise FrfwError(f"'{value}' is not an amount of memory: write 500MB, 1.5GiB or bytes")
    return int(number)


@lru_cache(maxsize=8)
def row_numbers(start: int, stop: int, device: torch.device) -> Tensor:
    """(stop - start,) int64 from `start` on; every step asks for the same, so it is shared."""
    with torch.inference_mode(False):
        return torch.arange(start, stop, device=device)


@dataclass
class Block:
    """Rows [start, stop) of a tile; `own` indexes its entries that are targets, or is None."""

    rows: slice
    own: tuple[Tensor, Tensor] | None


@dataclass
class Tile:
    """Classes [start, stop) of those computed here, number `index` of the tiles.

    Attributes:
        samples, targets: the rows whose class is in this tile, and their class minus `start`.
    """

    index: int
    start: int
    stop: int
    samples: Tensor
    targets: Tensor


class Tiling:
    """The tiles of a batch.

    Args:
        plan: sizes.
        classes: classes computed here.
        local: (B,) position of each sample's class among them; -1: on another process.
        everywhere: none is on another process.

    Attributes:
        single: one tile holds all classes, and the targets of all samples in their order.
    """

    def __init__(self, plan: TilePlan, classes: int, local: Tensor, everywhere: bool) -> None:
        self.plan, self.classes = plan, classes
        self.count = -(-classes // plan.classes)
        self.batch = len(local)
        self.row_blocks = -(-self.batch // plan.rows)
        self.single = everywhere and self.count == 1
        row = row_numbers(0, self.batch, local.device)
        if self.single:
            self.edges = [*range(0, self.batch, plan.rows), self.batch]
            self.order, self.local = row, local
            return
        cell = (local // plan.classes) * self.row_blocks + row // plan.rows
        cell, order = torch.sort(torch.where(local >= 0, cell, self.count * self.row_blocks))
        edges = torch.arange(self.count * self.row_blocks + 1, device=local.device)
        # The only wait for the device: where each block's targets begin.
        self.edges = torch.searchsorted(cell, edges).tolist()
        self.order, self.local = order, local[order]

    def __iter__(self) -> Iterator[Tile]:
        for index in range(self.count):
            start = index * self.plan.classes
            stop = min(start + self.plan.classes, self.classes)
            low = self.edges[index * self.row_blocks]
            high = self.edges[(index + 1) * self.row_blocks]
            samples, targets = self.order, self.local
            if not self.single:
                samples, targets = samples[low:high], targets[low:high] - start
            yield Tile(index, start, stop, samples, targets)

    def blocks(self, tile: Tile) -> Iterator[Block]:
        """The blocks of rows of a tile."""
        for number in range(self.row_blocks):
            first = number * self.plan.rows
            rows = slice(first, min(first + self.plan.rows, self.batch))
            low = self.edges[tile.index * self.row_blocks + number]
            high = self.edges[tile.index * self.row_blocks + number + 1]
            own = None
            if high > low:
                own = (self.order[low:high] - first, self.local[low:high] - tile.start)
            yield Block(rows, own)
