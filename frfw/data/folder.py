"""A folder of faces: one sub-folder an identity, images in it at any depth."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from frfw.data.dataset import Dataset
from frfw.data.decode import IMAGE_SUFFIXES
from frfw.data.image_file import read_image_file
from frfw.data.manifest import UNFINISHED, read_manifest
from frfw.data.preprocessing import Preprocessing
from frfw.data.strings import StringColumn
from frfw.errors import FrfwError


class FolderDataset(Dataset):
    """Images under `root/<identity>/**`, identities and files in sorted order of their names.

    Raises:
        FrfwError: no such folder, no image in it, a single image, or a folder that an interrupted
            tool left.
    """

    def __init__(self, root: str | Path, size: int | None = None) -> None:
        self.root = Path(root)
        self.name = self.root.name
        folders, names, folder_of, labels, identities, self.notes = _scan(self.root)
        self._folders, self._names = folders, names
        self._folder_of = folder_of
        self.labels, self.identity_names = labels, identities
        manifest = read_manifest(self.root)
        self.preprocessing = manifest or Preprocessing(size=size or 112)
        self.size = size or self.preprocessing.size

    def path(self, index: int) -> str:
        """Path of image `index` below the root, with forward slashes."""
        return f"{self._folders[self._folder_of[index]]}/{self._names[index]}"

    def read(self, index: int) -> bytes:
        return read_image_file(os.path.join(self.root, self.path(index)))

    def locate(self, index: int) -> str:
        return str(self.root / self.path(index))

    def _content_digest(self) -> bytes:
        digest = hashlib.blake2b("\0".join(self._folders).encode("utf-8", "surrogateescape"))
        for array in (self._names.data, self._names.offsets, self._folder_of):
            digest.update(np.ascontiguousarray(array))
        return digest.digest()


def _scan(
    root: Path,
) -> tuple[StringColumn, StringColumn, np.ndarray, np.ndarray, list[str], list[str]]:
    """List the images: folders, file names, (N,) folder of each, (N,) labels, identities, notes."""
    if not root.is_dir():
        raise FrfwError(f"{root} is not a folder: give a folder with one sub-folder an identity")
    if (root / UNFINISHED).exists():
        raise FrfwError(f"{root} holds an unfinished alignment: run its `align` command again")
    identities, folders, names, folder_of, labels = [], [], [], [], []
    entries = [entry for entry in os.scandir(root) if not entry.name.startswith(".")]
    top = sorted(entry.name for entry in entries if entry.is_dir())
    loose = sum(_is_image(entry.name) for entry in entries if not entry.is_dir())
    for identity in top:
        before = len(names)
        for relative, files in _walk(root, identity):
            folders.append(relative)
            names += files
            folder_of += [len(folders) - 1] * len(files)
        if len(names) > before:
            labels += [len(identities)] * (len(names) - before)
            identities.append(identity)
    if len(names) < 2:
        what = "one image" if names else "no image"
        what += f" ({loose} lie beside them)" if loose else ""
        raise FrfwError(
            f"{root} has {what} in its sub-folders: training data is one sub-folder an "
            f"identity with images ({', '.join(sorted(IMAGE_SUFFIXES))}) in it"
        )
    return (
        StringColumn.of(folders),
        StringColumn.of(names),
        np.array(folder_of, np.int32),
        np.array(labels, np.int64),
        identities,
        _notes(root, sorted(set(top) - set(identities)), loose),
    )


def _notes(root: Path, empty: list[str], loose: int) -> list[str]:
    notes = []
    if empty:
        more = ", ..." if len(empty) > 5 else ""
        notes.append(
            f"{len(empty)} sub-folders of {root} hold no image and are no identities: "
            f"{', '.join(empty[:5])}{more}"
        )
    if loose:
        notes.append(f"{loose} images lie in {root} itself, in no identity's folder: passed over")
    return notes


def _walk(root: Path, identity: str) -> list[tuple[str, list[str]]]:
    """List (folder below root, its image files) for one identity, sorted, links followed once."""
    found, seen = [], set()
    for place, inner, files in os.walk(os.path.join(root, identity), followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(d for d in inner if not d.startswith("."))
        images = sorted(f for f in files if not f.startswith(".") and _is_image(f))
        if images:
            found.append((os.path.relpath(place, root).replace(os.sep, "/"), images))
    return found


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
