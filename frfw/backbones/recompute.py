"""Gradient checkpointing that leaves batch-norm statistics as they would be without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def plain(block: nn.Module, x: Tensor) -> Tensor:
    """Run `block` as it is."""
    return block(x)


@cache
def recomputing() -> Callable[[nn.Module, Tensor], Tensor]:
    """Return `plain`'s counterpart that keeps only the block's input for the backward pass.

    The backward pass runs the block again. Values, gradients, running statistics and random draws
    (dropout) equal those of a plain call; memory falls to about one activation a block, and a
    training step computes about a third more. Under torch.compile these blocks run eagerly.
    """
    # Wrapped only when asked for: torch.compiler.disable imports the compiler, which takes seconds.
    return torch.compiler.disable(_recomputed)


def _recomputed(block: nn.Module, x: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return block(x)
    return checkpoint(
        block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_held(block))
    )


def _keeps_statistics(module: nn.Module) -> bool:
    return getattr(module, "running_mean", None) is not None and hasattr(module, "momentum")


@contextmanager
def _statistics_held(block: nn.Module) -> Iterator[None]:
    # The second forward sees the same batch; counting it again would move running means twice.
    # Told by their buffers: batch norms over all ranks are classes of their own.
    norms = [m for m in block.modules() if _keeps_statistics(m) and m.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.sub_(1)
