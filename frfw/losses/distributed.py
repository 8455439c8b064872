"""The few collectives that losses need; without a process group they do nothing.

Convention: every rank returns a scalar whose mean over ranks, like the mean over ranks of its
gradients, is that of the global batch. It is what DistributedDataParallel averages.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

Group = Any  # a torch process group, or None for the default one


def world(group: Group = None) -> int:
    """Return the number of ranks, 1 where torch.distributed is not in use."""
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1


def rank(group: Group = None) -> int:
    """Return this process's rank, 0 where torch.distributed is not in use."""
    return dist.get_rank(group) if world(group) > 1 else 0


def total(value: Tensor, group: Group = None) -> Tensor:
    """Return the sum of `value` over ranks, without gradient."""
    value = value.detach().clone()
    if world(group) > 1:
        dist.all_reduce(value, group=group)
    return value


def gather(x: Tensor, group: Group = None) -> tuple[Tensor, slice]:
    """Return (x of all ranks in rank order, where this rank's rows are), without gradient.

    Ranks may hold different numbers of rows, (B_r, ...).
    """
    x = x.detach().contiguous()
    ranks = world(group)
    if ranks == 1:
        return x, slice(0, len(x))
    count = torch.tensor([len(x)], device=x.device)
    counts = [torch.empty_like(count) for _ in range(ranks)]
    dist.all_gather(counts, count, group=group)
    sizes = torch.cat(counts).tolist()
    padded = x.new_zeros((max(sizes), *x.shape[1:]))
    padded[: len(x)] = x
    parts = [torch.empty_like(padded) for _ in range(ranks)]
    dist.all_gather(parts, padded, group=group)
    start = sum(sizes[: rank(group)])
    return torch.cat([p[:n] for p, n in zip(parts, sizes)]), slice(start, start + len(x))


def gather_with_gradient(x: Tensor, group: Group = None) -> Tensor:
    """Return x of all ranks; this rank's rows carry its gradient, times the number of ranks.

    A loss computed on the result is the global loss on every rank, and by the factor the mean
    over ranks of its gradients is the global gradient, without communication in backward.
    """
    if world(group) == 1:
        return x
    everything, own = gather(x, group)
    mine = _ScaleGradient.apply(x, world(group))
    return torch.cat([everything[: own.start], mine, everything[own.stop :]])


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: int) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.factor, None
