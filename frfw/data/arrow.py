"""Arrow's columns as NumPy arrays, and back.

pyarrow's own conversions import pandas first, a second's work that opening a set can do without.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


def numbers(column: pa.Array | pa.ChunkedArray, dtype: type[np.generic]) -> np.ndarray:
    """Return a column of numbers without nulls, (N,); one chunk is not copied.

    Args:
        dtype: NumPy's name for the column's type.
    """
    item = np.dtype(dtype).itemsize
    parts = [
        np.frombuffer(chunk.buffers()[1], dtype, len(chunk), item * chunk.offset)
        for chunk in getattr(column, "chunks", [column])
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, dtype)])


def column_of(values: np.ndarray) -> pa.Array:
    """Return contiguous (N,) int64 as Arrow's, not copied."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])


def give_back() -> None:
    """Return what Arrow's allocator holds of freed memory to the system: half a gigabyte, say."""
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()
