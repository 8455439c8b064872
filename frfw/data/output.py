"""The folder a tool writes a set to: made, apart from its source, for one run at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frfw.data.dataset import Dataset
from frfw.data.folder import FolderDataset
from frfw.errors import FrfwError

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing keeps two runs apart there
    fcntl = None  # type: ignore[assignment]

LOCK = ".writing.lock"


def make_folder(folder: Path) -> None:
    """Make `folder` and those above it; FrfwError says why it cannot be one to write to."""
    for place in (folder, *folder.parents):
        if os.path.lexists(place):
            if not place.is_dir():
                raise FrfwError(f"{place} is not a folder: give another place to write to")
            break
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FrfwError(f"{folder} cannot be made a folder: {error.strerror}") from error


def refuse_source(dataset: Dataset, folder: Path) -> None:
    """Refuse a folder in a source of `dataset` that reads whatever images lie in it.

    There `align` would read its own crops as one more identity, and a set of another kind would
    hide the images that the source gets later.
    """
    target = folder.resolve()
    for source in _sources(dataset):
        if isinstance(source, FolderDataset) and target.is_relative_to(source.root.resolve()):
            raise FrfwError(
                f"{folder} is the source {source.root} or lies in it: give a folder outside of it"
            )


def _sources(dataset: Dataset) -> Iterator[Dataset]:
    """The sets on disk that mixtures, selections and patches are made of."""
    inner = [*getattr(dataset, "parts", ()), *filter(None, [getattr(dataset, "base", None)])]
    for part in inner:
        yield from _sources(part)
    if not inner:
        yield dataset


@contextmanager
def only_writer(folder: Path, tool: str) -> Iterator[None]:
    """Make `folder` and hold it for this run of `tool`; FrfwError where another run has it.

    The system drops the lock of a process that ends, however it ends, so nothing has to be cleared
    up before an interrupted run goes on. File systems without locks keep nobody out.
    """
    make_folder(folder)
    lock = _lock(folder, tool)
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        os.close(lock)


def _lock(folder: Path, tool: str) -> int:
    path = folder / LOCK
    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise FrfwError(f"{folder} cannot be written to: {error.strerror}") from error
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise FrfwError(
                f"another {tool} is writing to {folder}: wait until it has ended, or give another "
                f"folder"
            ) from None
        except OSError:
            return lock
        if _is_at(lock, path):
            return lock
        os.close(lock)  # its last holder removed the file after we had opened it


def _is_at(lock: int, path: Path) -> bool:
    """Whether the open file is the one that the next run will find."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(path))
    except FileNotFoundError:
        return False
