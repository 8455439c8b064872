"""The checked index of a large RecordIO set, kept beside it and mapped into memory.

Reading and checking a text index of millions of lines takes seconds and a copy in every process;
mapped arrays open at once and are shared by all workers through the page cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

import numpy as np

FOLDER = ".frfw-index"
MIN_IMAGES = 200_000  # below this the text index is read faster than anyone notices
_ARRAYS = ("starts", "ends", "labels", "keys", "values")


def stamp(rec: Path, idx: Path) -> str:
    """Return what changes when either file does: sizes and modification times."""
    states = [os.stat(path) for path in (rec, idx)]
    return json.dumps([[state.st_size, state.st_mtime_ns] for state in states])


def load(rec: Path, idx: Path) -> dict[str, np.ndarray] | None:
    """Return the mapped arrays, or None where there is no index made from these very files."""
    folder = rec.parent / FOLDER
    try:
        if (folder / "stamp.json").read_text() != stamp(rec, idx):
            return None
        return {n: np.load(folder / f"{n}.npy", mmap_mode="r") for n in _ARRAYS}
    except (OSError, ValueError):
        return None


def save(rec: Path, idx: Path, arrays: dict[str, np.ndarray]) -> bool:
    """Write the arrays; False where the folder cannot be written to."""
    folder, temporary = rec.parent / FOLDER, rec.parent / f"{FOLDER}-{os.getpid()}.partial"
    try:
        temporary.mkdir()
        for name in _ARRAYS:
            np.save(temporary / f"{name}.npy", arrays[name])
        (temporary / "stamp.json").write_text(stamp(rec, idx))
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except OSError:
        with contextlib.suppress(OSError):
            shutil.rmtree(temporary)
        return False
    return True
