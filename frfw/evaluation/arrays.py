"""Arrays from files that may be damaged."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frfw.errors import FrfwError

# What NumPy raises on a file that is cut off, empty, scribbled over, or of another kind.
DAMAGED = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


def read_npz(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an `.npz`; FrfwError when it is missing, damaged or holds objects."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except FileNotFoundError as error:
        raise FrfwError(f"{path} is missing") from error
    except (*DAMAGED, AttributeError) as error:  # a lone .npy has no files
        raise FrfwError(f"{path} is no .npz of plain arrays: {error or 'it is cut off'}") from error


def first_equal(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return, for each of (M, D) rows, the number of the first row with the very same bytes."""
    flat = np.ascontiguousarray(rows)
    if not flat.size:
        return np.arange(len(flat))
    joined = flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1]))).reshape(-1)
    _, first, which = np.unique(joined, return_index=True, return_inverse=True)
    return first[which.reshape(-1)].astype(np.int64)
