"""The head as one logical tensor, whatever the number of processes that hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from frfw.errors import FrfwError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def logical(head: Any, value: Tensor) -> Tensor:
    """A tensor with a row for each centre held (weight, momentum) as rows of the whole head.

    Returns:
        A DTensor over the head's process group, (C, D), or (C, K, D) with K sub-centres: what
        `torch.distributed.checkpoint` saves and re-shards. The tensor itself (in that shape)
        where this process holds everything. Memory is shared.
    """
    centres = head.formula.sub_centers
    local = value.detach()
    local = local if centres == 1 else local.unflatten(0, (-1, centres))
    if not head.sharded or head.exchange.world == 1:
        return local
    from torch.distributed.tensor import DTensor, Shard  # seconds to import, so only here

    shape = torch.Size((head.classes, *local.shape[1:]))
    stride = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(
        local, _mesh(head), [Shard(0)], run_check=False, shape=shape, stride=stride
    )


def whole(head: Any, value: Tensor, only_first: bool = True) -> Tensor | None:
    """Gather what `logical` describes: (C * K, ...) on the CPU. Every process must call it.

    Args:
        only_first: only process 0 gets it, the others None; so that memory is not taken there.
    """
    local = value.detach()
    if not head.sharded or head.exchange.world == 1:
        return local.cpu()
    wanted = head.exchange.rank == 0 or not only_first
    parts = []
    for rank in range(head.exchange.world):
        start, stop = head.range_of(rank)
        rows = (stop - start) * head.formula.sub_centers
        part = local if rank == head.exchange.rank else local.new_empty(rows, *local.shape[1:])
        source = (
            rank if head.exchange.group is None else dist.get_global_rank(head.exchange.group, rank)
        )
        # A broadcast, not a gather to one process: NCCL has no other that takes uneven sizes.
        dist.broadcast(part.contiguous() if part is local else part, source, head.exchange.group)
        if wanted:
            parts.append(part.cpu())
    return torch.cat(parts) if wanted else None


def held_part(head: Any, value: Tensor) -> Tensor:
    """This process's rows of a whole tensor (C * K, ...) or (C, K, ...), or of a DTensor.

    Raises:
        FrfwError: another number of classes.
    """
    centres = head.formula.sub_centers
    given = value.shape[0] * (value.shape[1] if centres > 1 and value.ndim == 3 else 1)
    if given != head.classes * centres:
        raise FrfwError(
            f"the checkpoint's head has {given} centres, this one {head.classes * centres} "
            f"({head.classes} classes with {centres} centres): it was trained on other data"
        )
    spread = hasattr(value, "to_local")  # a DTensor
    value = value.to_local() if spread else value
    if centres > 1 and value.ndim == 3:
        value = value.flatten(0, 1)
    if spread:
        return value
    start, stop = head.class_range
    return value[start * centres : stop * centres]


def _mesh(head: Any) -> DeviceMesh:
    from torch.distributed.device_mesh import DeviceMesh

    group = head.exchange.group or dist.group.WORLD
    return DeviceMesh.from_group(group, head.weight.device.type)
