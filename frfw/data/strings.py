"""Millions of short strings in two arrays, instead of as many Python objects."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


class StringColumn(Sequence[str]):
    """Immutable sequence of strings: one byte buffer and (N + 1,) int64 offsets into it."""

    def __init__(self, data: np.ndarray, offsets: np.ndarray) -> None:
        self.data, self.offsets = data, offsets

    @classmethod
    def of(cls, strings: Iterable[str]) -> StringColumn:
        """Build it from strings; file names that are not UTF-8 survive (surrogateescape)."""
        buffer, ends = bytearray(), array("q", [0])
        for text in strings:
            buffer += text.encode("utf-8", "surrogateescape")
            ends.append(len(buffer))
        return cls(np.frombuffer(buffer, np.uint8), np.frombuffer(ends, np.int64))

    @classmethod
    def of_arrow(cls, column: pa.Array | pa.ChunkedArray) -> StringColumn:
        """Build it from Arrow's large_string without nulls; one chunk is not copied."""
        import pyarrow as pa

        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        if not chunks:
            return cls.of([])
        whole = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
        _, offsets, data = whole.buffers()
        ends = np.frombuffer(offsets, np.int64, len(whole) + 1, 8 * whole.offset)
        held = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
        return cls(held[ends[0] : ends[-1]], ends - ends[0])

    @classmethod
    def read(cls, arrays: dict[str, np.ndarray], name: str) -> StringColumn:
        """Return the column that `arrays(name)` put there."""
        return cls(arrays[f"{name}_data"], arrays[f"{name}_offsets"])

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Return the two arrays, to be kept under this name among others."""
        return {f"{name}_data": self.data, f"{name}_offsets": self.offsets}

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:  # type: ignore[override]
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise IndexError(index)
        start, end = int(self.offsets[index]), int(self.offsets[index + 1])
        return self.data[start:end].tobytes().decode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def joined(name: str, columns: Iterable[StringColumn]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the two arrays of all columns, one after another, in pieces with their names."""
    yield f"{name}_data", np.empty(0, np.uint8)
    yield f"{name}_offsets", np.zeros(1, np.int64)
    end = 0
    for column in columns:
        yield f"{name}_data", column.data
        yield f"{name}_offsets", column.offsets[1:] + end
        end += len(column.data)
