"""Arrays from files that may be damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frfw.errors import FrfwError


def read_npz(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an `.npz`; FrfwError when it is missing, damaged or holds objects."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError as error:
        raise FrfwError(f"{path} is missing") from error
    except Exception as error:  # a damaged archive raises nearly anything in there
        raise FrfwError(f"{path} is no .npz of plain arrays: {error or 'it is cut off'}") from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise FrfwError(f"{path} is no .npz of plain arrays: it holds other files")
    return arrays


def first_equal(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return, for each of (M, D) rows, the number of the first row with the very same bytes."""
    flat = np.ascontiguousarray(rows)
    if not flat.size:
        return np.arange(len(flat))
    joined = flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1]))).reshape(-1)
    _, first, which = np.unique(joined, return_index=True, return_inverse=True)
    return first[which.reshape(-1)].astype(np.int64)
