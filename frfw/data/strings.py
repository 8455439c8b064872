"""Millions of short strings in two arrays, instead of as many Python objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


class StringColumn(Sequence[str]):
    """Immutable sequence of strings: one byte buffer and (N + 1,) int64 offsets into it."""

    def __init__(self, data: np.ndarray, offsets: np.ndarray) -> None:
        self.data, self.offsets = data, offsets

    @classmethod
    def of(cls, strings: Iterable[str]) -> StringColumn:
        """Build it from strings; file names that are not UTF-8 survive (surrogateescape)."""
        buffer, ends = bytearray(), [0]
        for text in strings:
            buffer += text.encode("utf-8", "surrogateescape")
            ends.append(len(buffer))
        return cls(np.frombuffer(bytes(buffer), np.uint8), np.array(ends, np.int64))

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
