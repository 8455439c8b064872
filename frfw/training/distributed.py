"""Ranks: joining the process group, and the few collectives that the trainer needs."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from frfw.default_group import FUNCTIONAL, import_unbound
from frfw.errors import FrfwError
from frfw.training.heartbeats import Heartbeats
from frfw.training.meeting import meet


@dataclass(frozen=True)
class Ranks:
    """This process among its peers. One process needs no process group: `group` is None."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    heartbeats: Heartbeats | None = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def group(self) -> Any | None:
        return dist.group.WORLD if self.world > 1 else None


def under_torchrun() -> bool:
    """Whether a launcher (torchrun or our own) has set this process's rank."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """Turn `auto|cpu|cuda|cuda:N` into a device.

    Raises:
        FrfwError: CUDA is asked for where there is none, or this rank has no GPU of its own.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise FrfwError(
            f"trainer.device={name}: not a device; use auto, cpu, cuda or cuda:N"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise FrfwError(
            f"trainer.device={name}: this machine has no CUDA device that PyTorch can use; "
            "set trainer.device=cpu, or check the driver with nvidia-smi"
        )
    if device.type == "cuda" and device.index is None:
        if local_rank >= torch.cuda.device_count():
            raise FrfwError(
                f"process {local_rank} on this machine has no GPU of its own: "
                f"{torch.cuda.device_count()} here; lower trainer.devices, or set "
                "trainer.device=cuda:0 where every process sees one GPU alone, its own"
            )
        device = torch.device("cuda", local_rank)
    return device


def join(device_name: str, timeout_s: float) -> Ranks:
    """Join the process group that the launcher's environment describes, or stand alone.

    Args:
        device_name: `auto|cpu|cuda|cuda:N`.
        timeout_s: seconds after which a collective that a rank does not reach is an error.

    Raises:
        FrfwError: no such device, or a rank that does not come.
    """
    if not under_torchrun() or int(os.environ["WORLD_SIZE"]) == 1:
        return Ranks(device=_prepare(choose_device(device_name)))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    # (Where only one is visible, each may see its own.)
    if device_name.startswith("cuda:") and here > 1 and torch.cuda.device_count() > 1:
        raise FrfwError(
            f"trainer.device={device_name} would put all {here} processes of this machine on one "
            "GPU: set trainer.device=cuda, and choose GPUs with CUDA_VISIBLE_DEVICES"
        )
    device = _prepare(choose_device(device_name, local_rank))
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    import_unbound(FUNCTIONAL)
    store = meet(rank, world, timeout_s)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(
        backend, store=store, rank=rank, world_size=world, timeout=timedelta(seconds=timeout_s)
    )
    heartbeats = Heartbeats(store, rank, world, timeout_s)
    return Ranks(rank, world, local_rank, device, heartbeats)


def _prepare(device: torch.device) -> torch.device:
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def leave(ranks: Ranks | None = None) -> None:
    """Leave the process group, if there is one, and see its threads end.

    They end with the last reference to the group. What was wrapped for it holds such references
    in cycles, and torch's own modules may: see `frfw.default_group`, and why it matters.
    """
    if ranks is not None and ranks.heartbeats is not None:
        ranks.heartbeats.stop()
    if dist.is_initialized():
        dist.destroy_process_group()
        gc.collect()


def from_main(ranks: Ranks, value: Any) -> Any:
    """Return rank 0's `value` (any picklable object) on every rank.

    Rank 0 may have taken long to make it; the others wait while it lives.
    """
    if ranks.world == 1:
        return value
    barrier(ranks)
    box = [value if ranks.is_main else None]
    dist.broadcast_object_list(box, src=0, device=_object_device(ranks))
    return box[0]


def from_all(ranks: Ranks, value: Any) -> list[Any]:
    """Return every rank's `value` (any picklable object), in rank order, on every rank."""
    if ranks.world == 1:
        return [value]
    values: list[Any] = [None] * ranks.world
    dist.all_gather_object(values, value)
    return values


def average(ranks: Ranks, value: torch.Tensor) -> torch.Tensor:
    """Return the mean of `value` (a tensor on the ranks' device) over ranks, on every rank."""
    if ranks.world == 1:
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / ranks.world


def barrier(ranks: Ranks) -> None:
    """Wait until every rank is here, as long as it lives: rank 0 may be writing a large file."""
    if ranks.heartbeats is not None:
        ranks.heartbeats.wait_for_all()


def _object_device(ranks: Ranks) -> torch.device:
    return ranks.device if ranks.device.type == "cuda" else torch.device("cpu")
