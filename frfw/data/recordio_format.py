"""The bytes of MXNet's RecordIO and of the image header inside each record.

A record is `magic, cflag << 29 | length, payload, padding to 4 bytes`. A payload that holds the
magic number at a 4-byte boundary is split there (cflag 1 first, 2 middle, 3 last part; the magic
itself is left out and put back by the reader); cflag 0 is a whole record. The payload begins with
`flag uint32, label float32, id uint64, id2 uint64`; flag > 0 says that as many float32 labels
follow. All numbers are little-endian. (dmlc-core recordio, mxnet.recordio.IRHeader.)
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from frfw.errors import FrfwError

MAGIC = 0xCED7230A
_MAGIC_BYTES = struct.pack("<I", MAGIC)
_FRAME = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
_START = struct.Struct("<III")  # a frame, and the flag of the header in it
_LENGTH_MASK = (1 << 29) - 1


class Record(NamedTuple):
    """One record: its labels (a scalar label is a tuple of one), id and image bytes."""

    labels: tuple[float, ...]
    id: int
    image: bytes


def pack_record(image: bytes, record_id: int, label: float | tuple[float, ...]) -> bytes:
    """Return the bytes of one record; a tuple of labels is written as an array (flag > 0)."""
    if isinstance(label, tuple):
        head = _HEADER.pack(len(label), 0.0, record_id, 0) + struct.pack(f"<{len(label)}f", *label)
    else:
        head = _HEADER.pack(0, label, record_id, 0)
    return frame(head + image)


def frame(payload: bytes) -> bytes:
    """Wrap `payload` as RecordIO does, splitting it where it holds the magic number aligned."""
    parts, start, at = [], 0, payload.find(_MAGIC_BYTES)
    while at >= 0:
        if at % 4 == 0:
            parts.append(payload[start:at])
            start = at + 4
            at = payload.find(_MAGIC_BYTES, start)
        else:
            at = payload.find(_MAGIC_BYTES, at + 1)
    parts.append(payload[start:])
    out = []
    for number, part in enumerate(parts):
        if len(part) > _LENGTH_MASK:
            raise FrfwError(f"a record of {len(part)} bytes is too long for RecordIO (512 MiB)")
        last = number == len(parts) - 1
        cflag = 0 if len(parts) == 1 else 1 if number == 0 else 3 if last else 2
        out += [_FRAME.pack(MAGIC, cflag << 29 | len(part)), part, b"\0" * (-len(part) % 4)]
    return b"".join(out)


def unframe(data: bytes | memoryview, where: str) -> tuple[bytes, int]:
    """Return the payload of the record at the start of `data` and the bytes it takes up.

    Raises:
        FrfwError: no record begins there, or it is cut off; `where` names the place.
    """
    parts, at = [], 0
    while True:
        if len(data) - at < 8:
            raise FrfwError(f"{where}: the record is cut off")
        magic, word = _FRAME.unpack_from(data, at)
        if magic != MAGIC:
            raise FrfwError(f"{where}: no record begins there")
        cflag, length = word >> 29, word & _LENGTH_MASK
        if cflag > 3 or (cflag in (0, 1)) != (not parts):
            raise FrfwError(f"{where}: the parts of the record are out of order")
        end = at + 8 + length
        if end > len(data):
            raise FrfwError(f"{where}: the record is cut off")
        parts.append(bytes(data[at + 8 : end]))
        at = end + (-length % 4)
        if cflag in (0, 3):
            return _MAGIC_BYTES.join(parts), min(at, len(data))


def whole_image(data: bytes) -> bytes | None:
    """Return the image of an unsplit record, quickly; None for anything else, damaged or not."""
    if len(data) < 32:
        return None
    magic, word, flag = _START.unpack_from(data)
    begin, end = 32 + 4 * flag, 8 + word
    # With a cflag, `word` is above the length of any record, and so is `end`.
    return data[begin:end] if magic == MAGIC and begin <= end <= len(data) else None


def parse_payload(payload: bytes, where: str) -> Record:
    """Split a payload into labels, id and image bytes; FrfwError when it is too short."""
    if len(payload) < _HEADER.size:
        raise FrfwError(f"{where}: the record is too short to hold an image header")
    flag, label, record_id, _ = _HEADER.unpack_from(payload)
    start = _HEADER.size + 4 * flag
    if start > len(payload):
        raise FrfwError(f"{where}: the record says {flag} labels but is too short for them")
    labels = struct.unpack_from(f"<{flag}f", payload, _HEADER.size) if flag else (label,)
    return Record(labels, record_id, payload[start:])
