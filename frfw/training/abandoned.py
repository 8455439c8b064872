"""Checkpoints of a branch that a run leaves by going back to an earlier one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from frfw.training import checkpoint

Best = dict[str, Any]


def set_aside(folder: Path, resumed: Path, step: int, best: Best) -> tuple[list[str], Best]:
    """Move checkpoints of later steps than the one resumed from out of the way.

    Left where they are they would be "the newest" when the run, killed soon, resumes again, and
    its `best.pt` would be of weights that this run never has.

    Args:
        folder: the run's checkpoints.
        resumed: the checkpoint that the run goes on from.
        step: its step.
        best: the best so far, as that checkpoint knows it.

    Returns:
        lines that say what was done, and the best that is still there.
    """
    if resumed.name == "last.pt" or resumed.resolve().parent != folder.resolve():
        return [], best  # the newest, or one of another run
    later = [p for p in folder.glob("step_*.pt") if checkpoint.step_of(p) > step]
    strayed, lost_best = (_peek(folder / name)[0] > step for name in ("last.pt", "best.pt"))
    later += [folder / "last.pt"] * strayed + [folder / "best.pt"] * lost_best
    if not later:
        return [], best
    aside = _new_folder(folder, step)
    for path in later:
        shards = _peek(path)[1]
        os.replace(path, aside / path.name)
        if shards and (folder / shards).is_dir():
            os.replace(folder / shards, aside / shards)
    if strayed:
        checkpoint.alias(resumed, "last.pt")
    told = f"the checkpoints of later steps than {step} were moved to {aside}"
    if not lost_best:
        return [told], best
    kept = folder / f"step_{best['step']}.pt"
    if best["step"] is not None and kept.is_file():
        checkpoint.alias(kept, "best.pt")
        return [told], best
    told += ", best.pt among them: the next evaluation is the best again"
    return [told], {"metric": None, "value": None, "step": None}


def _peek(path: Path) -> tuple[int, str | None]:
    """The step of a checkpoint and the folder of its head's shards; -1: it cannot be read."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return content["counters"]["step"], content.get("head_shards")
    except Exception:  # not there, cut off, or of another kind
        return -1, None


def _new_folder(folder: Path, step: int) -> Path:
    number = 1
    while (aside := folder / f"abandoned_after_step_{step}_{number}").exists():
        number += 1
    aside.mkdir()
    return aside
