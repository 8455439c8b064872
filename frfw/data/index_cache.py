"""The index of a large set, kept in a hidden folder beside it and mapped into memory.

Reading and checking a list of millions of lines takes seconds and a copy in every process; mapped
arrays open at once and are shared by all workers through the page cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frfw.data.arrow import give_back
from frfw.data.dataset import Dataset
from frfw.errors import FrfwError

MIN_IMAGES = 200_000  # below this an index is read faster than anyone notices
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class IndexCache:
    """Where the index of the set in `files` is kept: `.frfw-index-<name>` beside the first one."""

    name: str
    files: tuple[Path, ...]

    @property
    def folder(self) -> Path:
        return self.files[0].parent / f".frfw-index-{self.name}"

    def stamp(self) -> str:
        """Return what changes when any of the files does: names, sizes, modification times."""
        states = [(path.name, os.stat(path)) for path in self.files]
        return json.dumps([[name, s.st_size, s.st_mtime_ns] for name, s in states])

    def load(self, check: bool = True) -> Arrays | None:
        """Return the mapped arrays, or None where there is no index made from these very files.

        Args:
            check: compare the files' checksums too, some 0.03 s for a million images.
        """
        try:
            kept = json.loads((self.folder / "stamp.json").read_text())
            if kept["files"] != self.stamp():
                return None
            files = {name: self.folder / f"{name}.npy" for name in kept["arrays"]}
            if check and {name: _sum(file) for name, file in files.items()} != kept["arrays"]:
                return None
            arrays = {name: np.load(file, mmap_mode="r") for name, file in files.items()}
            return arrays or None
        except Exception:  # damaged files raise nearly anything; the index is made anew
            return None

    def save(self, arrays: Arrays, stamp: str) -> bool:
        """Write the arrays; False where the folder cannot be written to."""
        temporary = self.folder.with_name(f"{self.folder.name}-{os.getpid()}.partial")
        try:
            temporary.mkdir()
            for name, array in arrays.items():
                np.save(temporary / f"{name}.npy", array)
            sums = {name: _sum(temporary / f"{name}.npy") for name in arrays}
            (temporary / "stamp.json").write_text(json.dumps({"files": stamp, "arrays": sums}))
            shutil.rmtree(self.folder, ignore_errors=True)
            os.replace(temporary, self.folder)
        except OSError:
            with contextlib.suppress(OSError):
                shutil.rmtree(temporary)
            return False
        return True

    def load_or_make(self, make: Callable[[], Arrays]) -> Arrays:
        """Return the mapped arrays, or those that `make` reads; a large index is kept."""
        arrays = self.load()
        if arrays is None:
            stamp = self.stamp() if all(path.is_file() for path in self.files) else ""
            arrays = make()
            if len(arrays["labels"]) >= MIN_IMAGES and self.save(arrays, stamp):
                arrays = self.load(check=False) or arrays
                give_back()
        return arrays


def _sum(path: Path) -> int:
    """CRC-32 of a file, read in pieces: mapped, all of it would count as this process's memory."""
    value = 0
    with path.open("rb", buffering=0) as file:
        while piece := file.read(1 << 20):
            value = zlib.crc32(piece, value)
    return value


class IndexedDataset(Dataset):
    """Base of the sources whose index is a few arrays; other processes map them again.

    Attributes:
        cache: where the index is kept.
        arrays: the index; `labels` (N,) int64 is one of them.
    """

    cache: IndexCache
    arrays: Arrays

    def open_index(self, name: str, files: Sequence[Path], make: Callable[[], Arrays]) -> None:
        """Set `arrays` from the kept index, or from what `make` reads from the files."""
        self.cache = IndexCache(name, tuple(files))
        self.arrays = self.cache.load_or_make(make)

    @property
    def labels(self) -> np.ndarray:  # type: ignore[override]
        return self.arrays["labels"]

    def __getstate__(self) -> dict[str, object]:
        state = dict(self.__dict__)
        if isinstance(self.labels, np.memmap):
            del state["arrays"]
        return state

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        if "arrays" not in state:
            arrays = self.cache.load(check=False)  # the process that opened the set has checked
            if arrays is None:
                raise FrfwError(f"{self.cache.files[0]} changed while it was in use")
            self.arrays = arrays
