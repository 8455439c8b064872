"""Does the head fit? Asked before it is made, since making it is what would fail."""

from __future__ import annotations

import os
from typing import Any

import torch

from frfw.errors import FrfwError
from frfw.training.distributed import Ranks, from_all

Config = dict[str, Any]


def check(config: Config, dim: int, classes: int, ranks: Ranks) -> None:
    """The head's weight, gradient and optimizer state must fit in what is free.

    Raises:
        FrfwError: on every rank, if it does not fit on one of them.
    """
    need = head_bytes(config, dim, classes, ranks.world)
    free = free_bytes(ranks.device)
    if free is not None and ranks.device.type == "cpu":
        free //= int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # ranks on a machine share its memory
    for rank, left in enumerate(from_all(ranks, free)):
        if left is not None and need > left:
            where = f"rank {rank}, " if ranks.world > 1 else ""
            fused = ", classifier.fused_update=true"
            ways = fused if config["optimizer"]["name"] == "sgd" else " or optimizer=sgd"
            raise FrfwError(
                f"the head of {classes} classes needs {need / 2**30:.1f} GiB for weight, gradient "
                f"and optimizer, {left / 2**30:.1f} GiB are free on {where}{ranks.device}: see "
                f"python -m frfw.plan, classifier.parallel=sharded{ways}"
            )


def head_bytes(config: Config, dim: int, classes: int, world: int) -> int:
    """Bytes of one rank's weight, gradient (none with the fused update) and optimizer state.

    Of sampled classes only their share has a gradient; their rows are copied for the step.
    """
    how, optimizer = config["classifier"], config["optimizer"]
    held = classes if how["parallel"] == "replicated" else -(-classes // world)
    weight = held * config["loss"].get("sub_centers", 1) * dim * 4
    states = 2 if optimizer["name"] == "adamw" else int(bool(optimizer["momentum"]))
    rate = how["sample_rate"] if how["parallel"] == "sampled" else 1
    passing = 1 if rate == 1 else rate * (2 + states)
    return int(weight * (1 + states + (0 if how["fused_update"] else passing)))


def free_bytes(device: torch.device) -> int | None:
    """Bytes that are free on the device; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo") as file:
            line = next(row for row in file if row.startswith("MemAvailable"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return None
