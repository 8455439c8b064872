"""From one loss per sample to one number: mean, focal, online hard example mining.

Each is called as `weighting(per_sample (B,), group=None)` and returns a scalar whose mean over
ranks, and that of its gradients, is the one of the global batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from frfw.losses.distributed import Group, gather, total, world
from frfw.losses.formula import build


class Mean(nn.Module):
    """The mean over the global batch."""

    needs_whole_batch = False

    def __init__(self) -> None:
        super().__init__()

    def forward(self, per_sample: Tensor, group: Group = None) -> Tensor:
        return _global_mean(per_sample, len(per_sample), group)


class Focal(nn.Module):
    """The mean of (1 - p)^γ L, with p = e^{-L} each sample's own probability; 0 for γ = 0 is Mean.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 4.

    Args:
        gamma: how strongly samples that are already right lose weight.
    """

    needs_whole_batch = False

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"gamma must not be negative, got {gamma}")
        self.gamma = float(gamma)

    def forward(self, per_sample: Tensor, group: Group = None) -> Tensor:
        if self.gamma == 0:
            return _global_mean(per_sample, len(per_sample), group)
        # 1 - p from below would be 0 for a perfect sample, where (1 - p)^γ with γ < 1 has no slope.
        wrong = -torch.expm1(-per_sample)
        wrong = wrong.clamp_min(torch.finfo(per_sample.dtype).tiny)
        tiny = wrong.detach() <= torch.finfo(per_sample.dtype).eps
        weight = torch.where(tiny, wrong.detach(), wrong) ** self.gamma
        return _global_mean(weight * per_sample, len(per_sample), group)


class OHEM(nn.Module):
    """The mean over the hardest fraction of the global batch; the others count for nothing.

    Source: Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example
    Mining", CVPR 2016.

    Args:
        keep: fraction of the samples that is kept, (0, 1]; at least one sample.
    """

    needs_whole_batch = True

    def __init__(self, keep: float = 0.7) -> None:
        super().__init__()
        if not 0 < keep <= 1:
            raise ValueError(f"keep must be in (0, 1], got {keep}")
        self.keep = float(keep)

    def forward(self, per_sample: Tensor, group: Group = None) -> Tensor:
        everything, own = gather(per_sample, group)
        kept = max(1, round(self.keep * len(everything)))
        hardest = everything.argsort(descending=True, stable=True)[:kept]
        mask = torch.zeros_like(everything, dtype=torch.bool)
        mask[hardest] = True
        return torch.where(mask[own], per_sample, 0).sum() * (world(group) / kept)


def _global_mean(values: Tensor, count: int, group: Group) -> Tensor:
    ranks = world(group)
    if ranks == 1:
        return values.mean()
    counts = total(values.new_full((), float(count)), group)
    return values.sum() * (ranks / counts)


_WEIGHTINGS: dict[str, type] = {"mean": Mean, "focal": Focal, "ohem": OHEM}


def create_weighting(name: str, **params: Any) -> nn.Module:
    """Return the weighting called `name`: mean, focal(gamma) or ohem(keep).

    Raises:
        ValueError: unknown name or parameter, or a bad value.
    """
    return build(_WEIGHTINGS, "weighting", name, params)


def weighting_names() -> list[str]:
    """Return the names that `create_weighting` knows."""
    return sorted(_WEIGHTINGS)
