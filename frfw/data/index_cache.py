"""The index of a large set, kept in a hidden folder beside it and mapped into memory.

Reading and checking a list of millions of lines takes seconds and a copy in every process; mapped
arrays open at once and are shared by all workers through the page cache.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frfw.data.arrow import give_back
from frfw.data.dataset import Dataset
from frfw.errors import FrfwError

VERSION = 2  # of what is kept, and of the checks that it has passed
MIN_IMAGES = 200_000  # below this an index is read faster than anyone notices
Arrays = dict[str, np.ndarray]
Pieces = Iterator[tuple[str, np.ndarray]]  # arrays by name; pieces of one name follow one another


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
            if (kept["version"], kept["files"]) != (VERSION, self.stamp()):
                return None
            files = {name: self.folder / f"{name}.npy" for name in kept["arrays"]}
            if check and {name: _sum(file) for name, file in files.items()} != kept["arrays"]:
                return None
            arrays = {name: np.load(file, mmap_mode="r") for name, file in files.items()}
            return arrays or None
        except Exception:  # damaged files raise nearly anything; the index is made anew
            return None

    def save(self, pieces: Pieces, stamp: str) -> None:
        """Write the arrays as they come, or nothing where the folder cannot be written to."""
        temporary = self.folder.with_name(f"{self.folder.name}-{os.getpid()}.partial")
        try:
            temporary.mkdir()
        except OSError:
            return
        try:
            with contextlib.ExitStack() as stack:
                files: dict[str, ArrayFile] = {}
                for name, piece in pieces:
                    if name not in files:
                        files[name] = ArrayFile(temporary / f"{name}.npy", piece)
                        stack.callback(files[name].close)
                    files[name].append(piece)
            sums = {name: _sum(temporary / f"{name}.npy") for name in files}
            kept = {"version": VERSION, "files": stamp, "arrays": sums}
            (temporary / "stamp.json").write_text(json.dumps(kept))
            shutil.rmtree(self.folder, ignore_errors=True)
            os.replace(temporary, self.folder)
        except BaseException as error:  # of the pieces' maker too: it read a damaged file, say
            shutil.rmtree(temporary, ignore_errors=True)
            if not isinstance(error, OSError):
                raise

    def load_or_make(self, make: Callable[[], Pieces]) -> Arrays:
        """Return the mapped arrays, or those that `make` reads; a large index is kept.

        Args:
            make: returns the pieces of the arrays, those of `labels` (one piece) first.
        """
        arrays = self.load()
        if arrays is None:
            stamp = self.stamp() if all(path.is_file() for path in self.files) else ""
            pieces = make()
            first = next(pieces)
            pieces = itertools.chain([first], pieces)
            if len(first[1]) < MIN_IMAGES or not os.access(self.folder.parent, os.W_OK):
                return _whole(pieces)
            del first
            self.save(pieces, stamp)
            # Where that failed, another process may have been first; or else the disk is full,
            # and the pieces are made again to be kept in memory.
            arrays = self.load(check=False) or _whole(make())
            give_back()
        return arrays


def _whole(pieces: Pieces) -> Arrays:
    found: dict[str, list[np.ndarray]] = {}
    for name, piece in pieces:
        found.setdefault(name, []).append(piece)
    return {name: p[0] if len(p) == 1 else np.concatenate(p) for name, p in found.items()}


class ArrayFile:
    """A `.npy` file to which arrays are appended, along their first axis."""

    def __init__(self, path: Path, like: np.ndarray) -> None:
        """Create it for arrays of this shape, but for the first axis, and type."""
        self._file, self._rows = path.open("wb"), 0
        self._header = np.lib.format.header_data_from_array_1_0(like)
        self._write_header()

    def _write_header(self) -> None:
        shape = (self._rows, *self._header["shape"][1:])
        # NumPy leaves room in it for a longer first axis.
        np.lib.format.write_array_header_1_0(self._file, {**self._header, "shape": shape})

    def append(self, array: np.ndarray) -> None:
        """Write it behind what is there."""
        np.ascontiguousarray(array).tofile(self._file)
        self._rows += len(array)

    def close(self) -> None:
        """Say in the header how much was written."""
        self._file.seek(0)
        self._write_header()
        self._file.close()


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

    def open_index(self, name: str, files: Sequence[Path], make: Callable[[], Pieces]) -> None:
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
