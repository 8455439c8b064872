"""Batch norm over ranks: statistics of the global batch, and averages before saving."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from frfw.training.distributed import Ranks, from_all

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class GlobalBatchNorm(nn.Module):
    """Batch norm whose mean and variance are those of the batch over all ranks.

    torch's SyncBatchNorm runs on GPUs alone; this one runs on gloo too and keeps the state-dict
    keys of the batch norm that it replaces.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.eps, self.momentum = norm.eps, norm.momentum
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, ...) over batch and space."""
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = self._batch_statistics(x.float())
        shape = (1, -1) + (1,) * (x.ndim - 2)
        y = (x - mean.view(shape)) * torch.rsqrt(var + self.eps).view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        axes = [0, *range(2, x.ndim)]
        count = x.new_full((1,), x.numel() / x.shape[1])
        sums = torch.cat([x.sum(axes), count])
        sums = all_reduce(sums)
        mean = sums[:-1] / sums[-1]
        shape = (1, -1) + (1,) * (x.ndim - 2)
        # Two passes: the variance about the global mean, without cancellation.
        squares = all_reduce((x - mean.view(shape)).square().sum(axes))
        var = squares / sums[-1]
        with torch.no_grad():
            n = sums[-1]
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_((var * n / (n - 1)).to(self.running_var.dtype), self.momentum)
            self.num_batches_tracked.add_(1)
        return mean, var


def synchronise(module: nn.Module, ranks: Ranks) -> nn.Module:
    """Replace every batch norm by one over all ranks (torch's own on GPUs)."""
    if ranks.world == 1:
        return module
    if ranks.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for name, child in module.named_children():
        if isinstance(child, _KINDS):
            setattr(module, name, GlobalBatchNorm(child))
        else:
            synchronise(child, ranks)
    return module


def own_statistics(module: nn.Module, ranks: Ranks) -> list[dict[str, Tensor]] | None:
    """Return every rank's running mean and variance by name, on the CPU; None of one process.

    Averages do for shipping; for a run to go on exactly, each rank needs its own.
    """
    mine = {n: b.detach().cpu().clone() for n, b in module.named_buffers() if "running_" in n}
    return from_all(ranks, mine) if ranks.world > 1 and mine else None


@torch.no_grad()
def take_own(module: nn.Module, ranks: Ranks, everyone: list[dict[str, Tensor]] | None) -> None:
    """Put this rank's own statistics back; not where another number of ranks wrote them."""
    if everyone is None or len(everyone) != ranks.world:
        return
    for name, buffer in module.named_buffers():
        if name in everyone[ranks.rank]:
            buffer.copy_(everyone[ranks.rank][name])


@torch.no_grad()
def average_statistics(module: nn.Module, ranks: Ranks) -> None:
    """Make every rank's running mean and variance their mean over ranks, in place."""
    if ranks.world == 1:
        return
    named = [(n, b) for n, b in module.named_buffers() if "running_" in n]
    if not named:
        return
    flat = torch.cat([b.reshape(-1).float() for _, b in named])
    dist.all_reduce(flat)
    flat /= ranks.world
    for (_, buffer), part in zip(named, flat.split([b.numel() for _, b in named])):
        buffer.copy_(part.view_as(buffer))
