"""Checks before the first step: what would spoil a run later is said now."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from frfw.data.survey import quick_check
from frfw.errors import FrfwError
from frfw.training import overlap, rank_checks
from frfw.training.distributed import from_main

if TYPE_CHECKING:
    from frfw.training.trainer import Trainer


def check(trainer: Trainer) -> None:
    """Run all checks and print the plan.

    Raises:
        FrfwError: the first thing that would spoil the run, with what to do.
    """
    rank_checks.self_test(trainer.ranks)
    rank_checks.same_everywhere(trainer.ranks, trainer.config, trainer.parts.dataset.fingerprint)
    labels(trainer)
    memory(trainer)
    on_main(trainer, folder)
    if trainer.settings["check_data"]:
        on_main(trainer, images)
        on_main(trainer, evaluation)
    announce(trainer)


def on_main(trainer: Trainer, task: Callable[[Trainer], None]) -> None:
    """Run a check on rank 0 alone; what it refuses is raised on every rank."""
    problem = None
    if trainer.ranks.is_main:
        try:
            task(trainer)
        except FrfwError as error:
            problem = str(error)
    problem = from_main(trainer.ranks, problem)
    if problem:
        raise FrfwError(problem)


def images(trainer: Trainer) -> None:
    """Look at some hundred images: readable, aligned, channels in order, no identity twice."""
    data = trainer.config["data"]
    found = quick_check(trainer.parts.dataset, bad_limit=data["bad_limit"])
    for warning in found.geometry + found.warnings:
        trainer.recorder.message(f"warning: {warning}")
    if found.problems:
        raise FrfwError(
            f"the data would spoil the run: {'; '.join(found.problems)}. Look at it with "
            f"python -m frfw.data inspect {data['path']}; trainer.check_data=false trains anyway"
        )


def evaluation(trainer: Trainer) -> None:
    """Warn of identities and images that are trained on and scored on, and of doubtful pairs."""
    path = trainer.config["data"].get("path")
    sets = trainer.validator.sets
    for line in overlap.warnings(trainer.parts.dataset, Path(path) if path else None, sets):
        trainer.recorder.message(f"warning: {line}")


def memory(trainer: Trainer) -> None:
    """The head with its gradient and optimizer state must fit in what is free."""
    head = trainer.parts.model.head
    if head is None:
        return
    held = head.weight.numel() * head.weight.element_size()
    states = 2 if trainer.config["optimizer"]["name"] == "adamw" else 1
    need = held * (states + (0 if trainer.config["classifier"]["fused_update"] else 1))
    free = free_bytes(trainer.ranks.device)
    if free is not None and need > free:
        raise FrfwError(
            f"the head of {head.classes} classes needs {need / 2**30:.1f} GiB more for gradient "
            f"and momentum, {free / 2**30:.1f} GiB are free on {trainer.ranks.device}: see "
            "python -m frfw.plan, classifier.parallel=sharded, classifier.fused_update=true"
        )


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


def labels(trainer: Trainer) -> None:
    """Labels must be integers 0..classes-1, each with at least one image."""
    dataset = trainer.parts.dataset
    found = np.asarray(dataset.labels)
    classes = dataset.num_classes
    if not np.issubdtype(found.dtype, np.integer):
        raise FrfwError(f"the labels are {found.dtype}, not integers")
    if len(found) == 0:
        raise FrfwError(f"no images in {trainer.config['data'].get('path')}")
    outside = np.flatnonzero((found < 0) | (found >= classes))
    if len(outside):
        row = int(outside[0])
        raise FrfwError(
            f"image {row} has label {found[row]}, outside the {classes} classes of the data "
            f"({len(outside)} such images)"
        )
    empty = classes - len(np.unique(found))
    if empty:
        trainer.recorder.message(
            f"warning: {empty} of {classes} classes have no image; their centres are only pushed"
        )
    if classes < 2:
        raise FrfwError(
            f"{trainer.config['data'].get('path')} has {classes} identity; training needs at "
            "least 2 (a folder data set has one sub-folder for each identity)"
        )


def folder(trainer: Trainer) -> None:
    """The run folder must be writable with room for the checkpoints."""
    path = trainer.folder.path
    if not os.access(path, os.W_OK):
        raise FrfwError(f"run folder {path} is not writable")
    need = checkpoint_bytes(trainer) * (trainer.settings["keep_checkpoints"] + 2)
    free = shutil.disk_usage(path).free
    if free < need:
        raise FrfwError(
            f"{path} has {free / 2**20:.0f} MiB free; the checkpoints of this run need about "
            f"{need / 2**20:.0f} MiB; free some space, or set runs= to another disk"
        )


def checkpoint_bytes(trainer: Trainer) -> int:
    """Bytes of one checkpoint: weights and their momentum (two of them for AdamW)."""
    weights = sum(p.numel() * p.element_size() for p in trainer.parts.model.parameters())
    return weights * (3 if trainer.config["optimizer"]["name"] == "adamw" else 2)


def announce(trainer: Trainer) -> None:
    """Say what will be trained, on what, and how the batch is made up."""
    parts, config = trainer.parts, trainer.config
    say = trainer.recorder.message
    count = sum(p.numel() for p in parts.backbone.parameters()) / 1e6
    say(f"run {trainer.folder.path} on {trainer.ranks.device} ({trainer.ranks.world} process(es))")
    say(f"data: {len(parts.dataset)} images of {parts.dataset.num_classes} identities")
    say(
        f"model: {config['backbone']['name']}, {count:.2f} M parameters; "
        f"loss {config['loss']['name']}"
    )
    for note in parts.notes:
        say(note)
    say(f"{parts.plan}")
    optimizer = config["optimizer"]
    say(
        f"lr {parts.lr:g} = {optimizer['base_lr']:g} x {parts.plan.global_batch} / "
        f"{optimizer['base_batch']}, {parts.schedule.warmup_steps} warm-up steps, "
        f"{config['schedule']['name']}"
    )
