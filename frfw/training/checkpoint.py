"""Checkpoint files: tensors and plain types only, written aside, synced, renamed.

A checkpoint is one `.pt` file that `torch.load(weights_only=True)` reads. Its keys:

    format          int, 1
    backbone        state dict of the bare backbone
    head            state dict of the classifier: `weight` (classes, dim) and the loss's state
    extra_loss      state dict of the added embedding loss, or {}
    ema             state dict of the averaged backbone, or None
    optimizer       {"backbone": ..., "head": ..., "extra_loss": ...}
    scaler          GradScaler's state
    counters        {"step", "samples", "skipped", ...}
    best            {"metric", "value", "step"}
    config          the resolved config, a plain dict
    preprocessing   what was done to the pixels, a plain dict
    data            {"fingerprint", "classes", "images"}
    rank_statistics each rank's own batch-norm statistics (of several processes), or None;
                    `backbone` has their average
    head_shards     name of the folder beside the file that holds a sharded head, or None
"""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch

from frfw.errors import FrfwError

FORMAT = 1
Checkpoint = dict[str, Any]


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write `checkpoint` to `path` so that an interruption leaves the earlier file whole.

    Raises:
        FrfwError: the disk is full or not writable; nothing at `path` was changed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise FrfwError(
            f"could not write {path} ({_reason(error, path)}); "
            "the checkpoints written before are whole. Free some disk space and resume=auto"
        ) from error


def _reason(error: Exception, path: Path) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    free = shutil.disk_usage(path.parent).free
    return f"{str(error).splitlines()[0]}; {free / 2**20:.0f} MiB free on the disk"


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def alias(path: Path, name: str) -> None:
    """Let `name` beside `path` be the same file, replacing an earlier one in one step."""
    target, aside = path.with_name(name), path.with_name(f".{name}.{os.getpid()}.tmp")
    aside.unlink(missing_ok=True)
    try:
        os.link(path, aside)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, aside)
    os.replace(aside, target)
    sync_folder(path.parent)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU; nothing in the file is executed.

    Raises:
        FrfwError: no such file, truncated, damaged, or not a checkpoint of frfw.
    """
    if not path.is_file():
        raise FrfwError(f"no checkpoint at {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise FrfwError(f"{path} is damaged (checksum of {damaged}); use an earlier checkpoint")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise FrfwError(
            f"{path} cannot be read as a checkpoint ({first_line(error)}): it is truncated or "
            "another kind of file; use an earlier checkpoint, or init_from= for public weights"
        ) from error
    if not isinstance(checkpoint, dict) or checkpoint.get("format") != FORMAT:
        raise FrfwError(f"{path} is not a checkpoint of frfw; for public weights use init_from=")
    return checkpoint


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message without colours, or its type."""
    text = re.sub(r"\x1b\[[\d;]*m", "", str(error))
    return (text.splitlines() or [type(error).__name__])[0]


def step_of(path: Path) -> int:
    """Return N of `step_N.pt`, or -1."""
    match = re.fullmatch(r"step_(\d+)\.pt", path.name)
    return int(match.group(1)) if match else -1


def candidates(folder: Path) -> list[Path]:
    """Checkpoint files of a run, newest first: `last.pt`, then `step_N.pt` by falling N."""
    steps = sorted((p for p in folder.glob("step_*.pt") if step_of(p) >= 0), key=step_of)
    last = folder / "last.pt"
    return ([last] if last.is_file() else []) + steps[::-1]


def newest(folder: Path) -> tuple[Path, Checkpoint, list[str]] | None:
    """Return the newest readable checkpoint of `folder`, its content and what was passed over."""
    passed_over: list[str] = []
    for path in candidates(folder):
        try:
            content = load(path)
            _check_shards(path, content)
            return path, content, passed_over
        except FrfwError as error:
            passed_over.append(str(error))
    if passed_over:
        raise FrfwError(f"no readable checkpoint in {folder}: {'; '.join(passed_over)}")
    return None


def _check_shards(path: Path, content: Checkpoint) -> None:
    """Refuse a checkpoint whose head lies beside it in shards that are missing or cut off."""
    if not content.get("head_shards"):
        return
    from torch.distributed.checkpoint import FileSystemReader  # seconds to import

    folder = path.parent / content["head_shards"]
    try:
        pieces = FileSystemReader(folder).read_metadata().storage_data.values()
        needed: dict[str, int] = {}
        for piece in pieces:
            end = piece.offset + piece.length
            needed[piece.relative_path] = max(end, needed.get(piece.relative_path, 0))
        cut = [n for n, size in needed.items() if (folder / n).stat().st_size < size]
    except Exception as error:
        raise FrfwError(f"{path}: the head's shards in {folder} cannot be read: {error}") from error
    if cut:
        raise FrfwError(f"{path}: {folder / cut[0]} is cut off")


def find(path: str | Path) -> Path:
    """Turn a run folder or a checkpoint file into the checkpoint file: `best.pt`, else newest.

    Raises:
        FrfwError: neither a checkpoint file nor a run folder that has one.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.exists():
        raise FrfwError(f"{path} does not exist; give a run folder or a checkpoint file")
    folder = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    best = folder / "best.pt"
    if best.is_file():
        return best
    found = candidates(folder)
    if not found:
        raise FrfwError(f"{path} holds no checkpoint (looked for {folder}/best.pt, last.pt)")
    return found[0]


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` files `step_N.pt`, and shards that no file names."""
    steps = [p for p in candidates(folder) if step_of(p) >= 0]
    for path in steps[max(keep, 1) :]:
        path.unlink(missing_ok=True)
    for stale in folder.glob(".*.tmp"):
        if stale.is_dir():  # shards of a head whose writing was interrupted
            shutil.rmtree(stale, ignore_errors=True)
        else:
            stale.unlink(missing_ok=True)
