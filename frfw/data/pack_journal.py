"""The journal of a pack that is being written: which images are in the partial files, and where."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

JOURNAL = "pack.journal.partial"
VERSION = 2  # of the journal
# Place in the order, label, end of the .rec, end of the .idx, height, width; a CRC-32 of these.
# Bad images have no entry.
_FIELDS = [("at", "<i8"), ("label", "<i8"), ("rec", "<i8"), ("idx", "<i8"), ("shape", "<u4", 2)]
ENTRY = np.dtype([*_FIELDS, ("check", "<u4")])


def position(entries: np.ndarray) -> int:
    """The place in the order at which to go on."""
    return int(entries["at"][-1]) + 1 if len(entries) else 0


def head(key: str) -> bytes:
    """The first bytes of a journal: whose it is."""
    return key.encode().ljust(128)[:128]


def entry(at: int, label: int, rec: int, idx: int, shape: tuple[int, int]) -> bytes:
    """One image that was written, as a journal entry."""
    data = np.array((at, label, rec, idx, shape, 0), ENTRY).tobytes()[:-4]
    return data + zlib.crc32(data).to_bytes(4, "little")


def whole_entries(folder: Path, key: str) -> np.ndarray:
    """Journal entries of the same job, undamaged, whose bytes have reached both partial files."""
    try:
        data = (folder / JOURNAL).read_bytes()
        rec = (folder / "train.rec.partial").stat().st_size
        idx = (folder / "train.idx.partial").stat().st_size
    except OSError:
        return np.zeros(0, ENTRY)
    if data[:128] != head(key):
        return np.zeros(0, ENTRY)
    width, end = ENTRY.itemsize, 128
    while end + width <= len(data):
        one = data[end : end + width]
        if zlib.crc32(one[:-4]) != int.from_bytes(one[-4:], "little"):
            break
        end += width
    found = np.frombuffer(data[128:end], ENTRY)
    return found[: np.count_nonzero((found["rec"] <= rec) & (found["idx"] <= idx))]
