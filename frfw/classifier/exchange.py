"""What processes tell each other: batch sizes, gathered rows, sums. Thin over torch.distributed."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from frfw.default_group import FUNCTIONAL, import_unbound

if dist.is_available():
    import_unbound(FUNCTIONAL)


class Exchange:
    """A process among its peers; with no process group, alone.

    Args:
        group: a process group, or None for the default one (alone, where none is initialised).
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        active = dist.is_available() and dist.is_initialized()
        self.group = group
        self.world = dist.get_world_size(group) if active else 1
        self.rank = dist.get_rank(group) if active else 0

    def __deepcopy__(self, _: Any) -> Exchange:
        return self

    def __getstate__(self) -> dict[str, Any]:
        """A group cannot be stored: what is loaded is of the default group, or alone."""
        return {"group": None}

    def __setstate__(self, _: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]

    def stack(self, value: Tensor) -> Tensor:
        """Gather tensors of one shape: (...) -> (world, ...)."""
        if self.world == 1:
            return value.unsqueeze(0)
        parts = [torch.empty_like(value) for _ in range(self.world)]
        dist.all_gather(parts, value.contiguous(), group=self.group)
        return torch.stack(parts)

    def rows(self, value: Tensor, sizes: list[int]) -> Tensor:
        """Gather (sizes[rank], ...) rows of every process in rank order: (sum(sizes), ...).

        Batches may differ in size; they travel padded to the largest.
        """
        if self.world == 1:
            return value
        padded = value.new_zeros((max(sizes), *value.shape[1:]))
        padded[: len(value)] = value
        return torch.cat([part[:n] for part, n in zip(self.stack(padded), sizes)])

    def own(self, value: Tensor, sizes: list[int]) -> Tensor:
        """This process's rows of a tensor that was gathered by `rows`."""
        start = sum(sizes[: self.rank])
        return value[start : start + sizes[self.rank]]

    def sum_(self, value: Tensor) -> Tensor:
        """Sum over processes, in place."""
        if self.world > 1:
            dist.all_reduce(value, group=self.group)
        return value

    def extreme_(self, value: Tensor, largest: bool) -> Tensor:
        """Elementwise maximum (or minimum) over processes, in place."""
        if self.world > 1:
            op = dist.ReduceOp.MAX if largest else dist.ReduceOp.MIN
            dist.all_reduce(value, op=op, group=self.group)
        return value
