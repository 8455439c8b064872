"""Open any source of training images: given a path, or the `data` part of a config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frfw.data.dataset import Dataset
from frfw.data.folder import FolderDataset
from frfw.data.list_file import ListDataset
from frfw.data.mixture import Mixture
from frfw.data.patch import apply_patch
from frfw.data.recordio import RecordDataset
from frfw.data.selection import select_identities
from frfw.data.tar_shards import TarDataset
from frfw.errors import FrfwError, nearest

READERS = {
    "folder": FolderDataset,
    "recordio": RecordDataset,
    "list": ListDataset,
    "tar": TarDataset,
}
KINDS = ("auto", *READERS)
_SOURCE_KEYS = ("path", "kind", "root", "patch", "keep", "exclude", "size")
_OTHER_KEYS = ("sources", "merge", "sampler", "workers", "prefetch", "timeout", "bad_limit")

NO_PATH = "data.path is not set: give the folder or file of the training images"


def open_source(source: str | Path | Mapping[str, Any]) -> Dataset:
    """Open a data set.

    Args:
        source: a path (image folder; folder or `.rec` file of RecordIO; CSV or Parquet list; tar
            or folder of tars), or a mapping with `path` and optionally
            `kind` (one of KINDS), `root` (folder that a list's paths are relative to),
            `size` (side of the crops in pixels, by default what the set states),
            `patch` (CSV of `frfw.data clean`), `keep`, `exclude` (see `select_identities`);
            or with `sources`, a list of such, mixed: `merge` "apart" or "name" (see `Mixture`).

    Raises:
        FrfwError: nothing there that can be read as a data set; unknown keys.
    """
    if not isinstance(source, Mapping):
        source = {"path": source}
    known = (*_SOURCE_KEYS, *_OTHER_KEYS)
    for key in source:
        if key not in known:
            raise FrfwError(f"data has no {key!r}.{nearest(key, known)}")
    if source.get("sources"):
        dataset: Dataset = _mix(source)
    else:
        if source.get("path") in (None, "", "???"):
            raise FrfwError(NO_PATH)
        dataset = _open(source)
    if source.get("patch"):
        dataset = apply_patch(dataset, source["patch"])
    return select_identities(dataset, source.get("keep"), source.get("exclude"))


def _mix(source: Mapping[str, Any]) -> Dataset:
    parts = []
    for number, entry in enumerate(source["sources"]):
        inner = dict(entry) if isinstance(entry, Mapping) else {"path": entry}
        if not inner.get("path") and not inner.get("sources"):
            raise FrfwError(f"data.sources[{number}] has no path: give its folder or file")
        if source.get("size"):
            inner.setdefault("size", source["size"])
        parts.append(open_source(inner))
    return Mixture(parts, str(source.get("merge") or "apart"))


def _open(source: Mapping[str, Any]) -> Dataset:
    path, kind = Path(str(source["path"])), str(source.get("kind") or "auto")
    if kind not in KINDS:
        raise FrfwError(f"data.kind={kind}: choose {', '.join(KINDS)}.{nearest(kind, KINDS)}")
    if not path.exists():
        raise FrfwError(f"{path} does not exist: data.path is where the training images are")
    kind = _detect(path) if kind == "auto" else kind
    if kind == "list":
        return ListDataset(path, source.get("size"), source.get("root"))
    return READERS[kind](path, source.get("size"))


def _detect(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix == ".rec" or (path / "train.rec").exists() or (path / "train.idx").exists():
        return "recordio"
    if path.is_dir():
        if (path / "train.rec.partial").exists():
            raise FrfwError(f"{path} holds an unfinished RecordIO set: run its command again")
        return "tar" if next(path.glob("*.tar"), None) else "folder"
    if suffix in (".csv", ".parquet"):
        return "list"
    if suffix == ".tar":
        return "tar"
    raise FrfwError(
        f"{path} is no data set: give an image folder, RecordIO (train.rec), a list (.csv, "
        f".parquet) or tar shards"
    )
