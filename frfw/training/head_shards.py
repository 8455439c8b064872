"""The head in a checkpoint: one logical (classes, dim) tensor, whatever the number of ranks.

A replicated head lies in the checkpoint file. A sharded one lies beside it, in a folder that
torch.distributed.checkpoint writes from all ranks and re-shards on loading.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from frfw.classifier.logical import held_part, logical
from frfw.errors import FrfwError
from frfw.training import checkpoint
from frfw.training.distributed import barrier

if TYPE_CHECKING:
    from frfw.training.build import Parts

State = dict[str, Any]


def head_state(parts: Parts) -> State:
    """Return the head's state dict; only the loss's state where the head is sharded."""
    head = parts.model.head
    if head is None:
        return {}
    state = head.state_dict()
    if parts.head_is_sharded:
        held = {name for name, _ in head.named_parameters()}
        state = {k: v for k, v in state.items() if k not in held}
    return state


def optimizer_state(parts: Parts) -> State:
    """Return the head's optimizer state by parameter name; no wide tensors of a sharded head."""
    head, optimizer = parts.model.head, parts.optimizers["head"]
    kept: State = {}
    for name, parameter in head.named_parameters():
        state = optimizer.state.get(parameter, {})
        wide = {k for k, v in state.items() if _is_wide(v, parameter)}
        narrow = {k: v for k, v in state.items() if not (parts.head_is_sharded and k in wide)}
        kept[name] = {"values": narrow, "wide": sorted(wide)}
    return kept


def save(parts: Parts, path: Path) -> str | None:
    """Write a sharded head beside `path` (all ranks call this) and return its folder's name."""
    if not parts.head_is_sharded:
        return None
    import torch.distributed.checkpoint as dcp  # seconds to import, so only here

    # A new name each time: a checkpoint of this step that is there keeps its shards until it is
    # replaced itself, and `prune` removes what no checkpoint names.
    folder, number = path.with_suffix(".head"), 1
    while folder.exists():
        number += 1
        folder = path.with_name(f"{path.stem}_{number}.head")
    aside = folder.with_name(f".{folder.name}.tmp")
    barrier(parts.ranks)  # all have chosen the name
    if parts.ranks.is_main:
        shutil.rmtree(aside, ignore_errors=True)
    barrier(parts.ranks)
    try:
        dcp.save(_wide_tensors(parts), checkpoint_id=str(aside))
    except Exception as error:
        raise FrfwError(
            f"could not write {folder} ({checkpoint.first_line(error)}); the checkpoints written "
            "before are whole. Free some disk space and resume=auto"
        ) from error
    barrier(parts.ranks)
    if parts.ranks.is_main:
        os.replace(aside, folder)
        checkpoint.sync_folder(folder.parent)
    return folder.name


def _wide_tensors(parts: Parts) -> State:
    """The logical tensors of the head and of its optimizer; they share memory with both."""
    head, optimizer = parts.model.head, parts.optimizers["head"]
    tensors: State = {}
    for name, parameter in head.named_parameters():
        tensors[f"head.{name}"] = logical(head, parameter)
        for key, value in optimizer.state.get(parameter, {}).items():
            if _is_wide(value, parameter):
                tensors[f"optimizer.{name}.{key}"] = logical(head, value)
    return tensors


def load(parts: Parts, content: State, path: Path) -> None:
    """Load the head of a checkpoint, whoever wrote it, into this rank's head.

    Raises:
        FrfwError: the checkpoint has another number of classes, or its shards are missing.
    """
    head = parts.model.head
    if head is None:
        return
    classes = content["data"]["classes"]
    if classes != head.classes:
        raise FrfwError(
            f"{path} has a head of {classes} classes, this run needs {head.classes}; "
            "use init_from= for another data set"
        )
    if content["head_shards"] is None:
        head.load_logical_state(content["head"])
        return
    mine = head.state_dict()
    head.load_state_dict({**mine, **content["head"]})
    _read_shards(parts, content, path, {f"head.{n}": p for n, p in head.named_parameters()})


def load_optimizer(parts: Parts, content: State, path: Path) -> None:
    """Load the state of the head's optimizer (momentum) into this rank's."""
    head, optimizer = parts.model.head, parts.optimizers["head"]
    shards: dict[str, Tensor] = {}
    for name, parameter in head.named_parameters():
        stored = content["optimizer"]["head"].get(name, {"values": {}, "wide": []})
        optimizer.state.pop(parameter, None)  # it makes room for what comes
        state: State = dict(stored["values"])
        for key, value in state.items():
            # A number too: fused kernels read it on the device.
            if isinstance(value, Tensor) and key not in stored["wide"]:
                state[key] = value.to(parameter.device)
        for key in stored["wide"]:
            if key in state:  # written by a replicated head: this rank's rows of it
                part = torch.empty_like(parameter, requires_grad=False)
                state[key] = part.copy_(held_part(head, state[key]))
            else:
                state[key] = torch.zeros_like(parameter, requires_grad=False)
                shards[f"optimizer.{name}.{key}"] = state[key]
        if state:
            optimizer.state[parameter] = state
    if shards:
        _read_shards(parts, content, path, shards)


def _read_shards(parts: Parts, content: State, path: Path, tensors: dict[str, Tensor]) -> None:
    import torch.distributed.checkpoint as dcp

    folder = path.parent / content["head_shards"]
    if not folder.is_dir():
        raise FrfwError(f"{folder} is missing: it holds the head of {path}; copy it there too")
    wanted = {name: logical(parts.model.head, value) for name, value in tensors.items()}
    dcp.load(wanted, checkpoint_id=str(folder), no_dist=parts.ranks.world == 1)


def _is_wide(value: Any, parameter: nn.Parameter) -> bool:
    return isinstance(value, Tensor) and value.shape == parameter.shape


def prune(folder: Path) -> None:
    """Remove shard folders that no checkpoint file names."""
    shards = list(folder.glob("*.head"))
    if not shards:
        return
    named = set()
    for path in folder.glob("*.pt"):
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        named.add(content["head_shards"])
    for shard in shards:
        if shard.name not in named:
            shutil.rmtree(shard, ignore_errors=True)
