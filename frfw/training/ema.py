"""An exponential moving average of the backbone's weights, for evaluation and shipping."""

from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverage:
    """theta_ema = d theta_ema + (1 - d) theta after each step (Polyak averaging, exponential).

    Args:
        module: the backbone to follow.
        decay: d; early steps use min(d, (1 + k) / (10 + k)) so that the start is forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module, step: int, skipped: torch.Tensor) -> None:
        """Move towards `module` after optimizer step `step`; not at all where `skipped` is 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weight = (1.0 - decay) * (1.0 - skipped.float())
        for mine, theirs in zip(self.module.parameters(), module.parameters()):
            mine.lerp_(theirs.to(mine.dtype), weight.to(mine.dtype))
        self.take_buffers(module)

    @torch.no_grad()
    def take_buffers(self, module: nn.Module) -> None:
        """Take over `module`'s batch-norm statistics as they are."""
        buffers = list(self.module.buffers())
        if buffers:
            torch._foreach_copy_(buffers, list(module.buffers()))
