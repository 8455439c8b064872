"""The optimizer: parameter groups without decay on norms, biases and PReLU, lr by batch size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from frfw.errors import FrfwError, nearest

OPTIMIZERS = ("sgd", "adamw")
ParameterGroup = dict[str, Any]


def scaled_lr(base_lr: float, base_batch: int, global_batch: int) -> float:
    """The linear rule of Goyal et al. 2017 (arXiv:1706.02677): lr grows with the global batch."""
    return base_lr * global_batch / base_batch


def decay_groups(
    module: nn.Module, weight_decay: float, lr_factor: float = 1.0
) -> list[ParameterGroup]:
    """Split a module's trainable parameters into decayed ones and vectors (no weight decay).

    Vectors are the weights of norms, biases and PReLU slopes: everything of one dimension.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [{**g, "lr_factor": lr_factor} for g in groups if g["params"]]


def create_optimizer(
    name: str, groups: Sequence[ParameterGroup], lr: float, **options: Any
) -> torch.optim.Optimizer:
    """Create SGD or AdamW over `groups`, each with its `lr_factor` of `lr`.

    The fused kernels are used: they skip a step on the device when `found_inf` says so.

    Raises:
        FrfwError: unknown name, or an option that the optimizer does not have.
    """
    if name not in OPTIMIZERS:
        raise FrfwError(
            f"optimizer.name={name}: there is no such optimizer.{nearest(name, OPTIMIZERS)} "
            f"Choices: {', '.join(OPTIMIZERS)}"
        )
    kind = torch.optim.SGD if name == "sgd" else torch.optim.AdamW
    placed = [{**g, "lr": lr * g.get("lr_factor", 1.0)} for g in groups]
    try:
        optimizer = kind(placed, lr=lr, fused=True, **options)
    except TypeError as error:
        raise FrfwError(f"optimizer: {error}") from error
    if name == "sgd":
        _start_momentum(optimizer)
    return optimizer


def _start_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Start at zero. torch's fused SGD takes memory as it comes and leaves it so on a skipped step.

    A first step that is skipped is usual in fp16, whose loss scale starts too high. (With zeros the
    first step is the same: mu 0 + g = g; not with dampening, which torch leaves out of that step.)
    """
    for group in optimizer.param_groups:
        wanted = group["momentum"] and not group["dampening"]
        for parameter in group["params"] if wanted else ():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(
                parameter, requires_grad=False
            )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set every group's rate to `lr` times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_factor", 1.0)


def gradients(optimizers: Iterable[torch.optim.Optimizer]) -> list[torch.Tensor]:
    """Return the gradients of all parameters of the optimizers that have one."""
    return [
        p.grad
        for o in optimizers
        for g in o.param_groups
        for p in g["params"]
        if p.grad is not None
    ]
