"""Which classes a process holds, and their first weights."""

from __future__ import annotations

import torch
from torch import Tensor

from frfw.errors import FrfwError

_BLOCK = 1024  # rows drawn from one generator; part of what a seed means, so never changed


def class_range(classes: int, rank: int, world: int) -> tuple[int, int]:
    """Return the (start, stop) of the classes that `rank` holds.

    The ranges are those of `torch.chunk` and DTensor's `Shard(0)`: all of one size, the last one
    smaller where the numbers do not divide.

    Raises:
        FrfwError: a process would hold no class.
    """
    size = -(-classes // world)
    if size * (world - 1) >= classes:
        most = max(w for w in range(1, world + 1) if -(-classes // w) * (w - 1) < classes)
        raise FrfwError(
            f"{classes} classes do not spread over {world} processes: with {size} classes each "
            f"the last process holds no class. Use at most {most} processes, or parallel=replicated"
        )
    return rank * size, min((rank + 1) * size, classes)


def initial_rows(start: int, stop: int, dim: int, seed: int, std: float = 0.01) -> Tensor:
    """Draw rows [start, stop) of the initial (rows, dim) weight, float32, normal(0, std).

    A row depends on (seed, row) alone, so the head starts the same however it is sharded.
    """
    rows = torch.empty(stop - start, dim)
    for block in range(start // _BLOCK, -(-stop // _BLOCK)):
        generator = torch.Generator().manual_seed(_mix(seed, block))
        drawn = torch.empty(_BLOCK, dim).normal_(0.0, std, generator=generator)
        low, high = max(start, block * _BLOCK), min(stop, (block + 1) * _BLOCK)
        rows[low - start : high - start] = drawn[low - block * _BLOCK : high - block * _BLOCK]
    return rows


def _mix(seed: int, block: int) -> int:
    """Spread (seed, block) over 63 bits, so that seeds 0 and 1 share no block."""
    value = (seed * 0x9E3779B97F4A7C15 + block * 0xD1B54A32D192ED03 + 1) % 2**64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
    return (value ^ (value >> 31)) >> 1
