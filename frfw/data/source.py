"""Open any source of training images: given a path, or the `data` part of a config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frfw.data.dataset import Dataset
from frfw.data.folder import FolderDataset
from frfw.data.recordio import RecordDataset
from frfw.data.selection import select_identities
from frfw.errors import FrfwError, nearest

KINDS = ("auto", "folder", "recordio")
_SOURCE_KEYS = ("path", "kind", "keep", "exclude")
LOADER_KEYS = ("sources", "size", "sampler", "workers", "prefetch", "timeout", "bad_limit", "merge")


def open_source(source: str | Path | Mapping[str, Any]) -> Dataset:
    """Open a data set.

    Args:
        source: a path (image folder, or a folder or `.rec` file of RecordIO), or a mapping with
            `path` and optionally `kind` (auto, folder, recordio), `size` (side of the crops in
            pixels, by default what the set states), `keep`, `exclude` (see `select_identities`).

    Raises:
        FrfwError: nothing there that can be read as a data set; unknown keys.
    """
    if not isinstance(source, Mapping):
        return _open(Path(source), "auto", None)
    for key in source:
        if key not in (*_SOURCE_KEYS, *LOADER_KEYS):
            raise FrfwError(f"data has no {key!r}.{nearest(key, (*_SOURCE_KEYS, *LOADER_KEYS))}")
    if not source.get("path"):
        raise FrfwError("data.path is not set: give the folder or file of the training images")
    size = source.get("size")
    dataset = _open(Path(str(source["path"])), str(source.get("kind") or "auto"), size)
    return select_identities(dataset, source.get("keep"), source.get("exclude"))


def _open(path: Path, kind: str, size: int | None) -> Dataset:
    if kind not in KINDS:
        raise FrfwError(f"data.kind={kind}: choose {', '.join(KINDS)}.{nearest(kind, KINDS)}")
    if not path.exists():
        raise FrfwError(f"{path} does not exist: data.path is where the training images are")
    if kind == "auto":
        kind = _detect(path)
    return (RecordDataset if kind == "recordio" else FolderDataset)(path, size)


def _detect(path: Path) -> str:
    if path.suffix == ".rec" or (path / "train.rec").exists() or (path / "train.idx").exists():
        return "recordio"
    if path.is_dir():
        if (path / "train.rec.partial").exists():
            raise FrfwError(f"{path} holds an unfinished RecordIO set: run its command again")
        return "folder"
    raise FrfwError(f"{path} is no data set: give an image folder or RecordIO (train.rec)")
