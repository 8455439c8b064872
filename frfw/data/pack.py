"""Pack any source into RecordIO: resumable, re-encoding nothing unless asked."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage, decode, encode
from frfw.data.index_cache import MIN_IMAGES
from frfw.data.preprocessing import Preprocessing
from frfw.data.record_writer import RecordWriter
from frfw.data.recordio import RecordDataset
from frfw.errors import FrfwError

_JOURNAL = "pack.journal.partial"
# Place in the order, label (-1: left out), ends of the .rec and of the .idx, height, width.
_ENTRY = struct.Struct("<qqqqqq")
_LEFT_OUT = -1


@dataclass
class PackResult:
    """What came of it, of all starts together.

    Attributes:
        images, identities: written.
        bad: (place, reason) of the images that were left out.
        shapes: the (height, width) that images have.
    """

    images: int = 0
    identities: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    shapes: set[tuple[int, int]] = field(default_factory=set)


def pack(
    dataset: Dataset,
    folder: str | Path,
    *,
    size: int | None = None,
    quality: int | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> PackResult:
    """Write `dataset` to `folder` as `train.rec`, `train.idx`, `property` and `manifest.json`.

    Every image is decoded once to see that it is whole; bad ones are left out and listed. Its bytes
    are copied unless `size` (resize to it where it differs) or `quality` (JPEG anew) is given.
    `property` states the images' height and width, where all have the same.
    An interrupted run leaves `*.partial` files, with which the same call goes on.

    Raises:
        FrfwError: the folder holds a set already, or no image is good.
    """
    folder = Path(folder)
    order = np.argsort(dataset.labels, kind="stable")
    key = json.dumps([dataset.fingerprint, size, quality])
    writer, entries, journal = _start(dataset, folder, key, size or dataset.size)
    names = writer.identity_names
    result = _earlier(dataset, order, entries, size, quality)
    try:
        for at in range(entries[-1][0] + 1 if entries else 0, len(order)):
            source = int(order[at])
            try:
                data, shape = _bytes(dataset.read(source), size, quality)
            except BadImage as error:
                result.bad.append((dataset.locate(source), str(error)))
                journal.write(_ENTRY.pack(at, _LEFT_OUT, *writer.tell(), 0, 0))
                progress(at + 1)
                continue
            name = str(dataset.identity_names[int(dataset.labels[source])])
            if not names or names[-1] != name:
                names.append(name)
            writer.add(data, len(names) - 1)
            result.shapes.add(shape)
            journal.write(_ENTRY.pack(at, len(names) - 1, *writer.tell(), *shape))
            progress(at + 1)
    except BaseException:
        writer.suspend()
        journal.close()
        raise
    journal.close()
    result.images, result.identities = len(writer), len(names)
    if len(result.shapes) == 1:
        (writer.image_size,) = result.shapes
    writer.close()
    (folder / _JOURNAL).unlink()
    if result.images >= MIN_IMAGES:
        RecordDataset(folder)  # reads and keeps the index, so that a training opens it at once
    return result


def _earlier(
    dataset: Dataset,
    order: np.ndarray,
    entries: list[tuple[int, ...]],
    size: int | None,
    quality: int | None,
) -> PackResult:
    """What an interrupted run had come to; the reasons of what it left out are found again."""
    result = PackResult(shapes={entry[4:] for entry in entries if entry[1] != _LEFT_OUT})
    for at, label, *_ in entries:
        if label == _LEFT_OUT:
            source, reason = int(order[at]), "it was bad when it was read"
            try:
                _bytes(dataset.read(source), size, quality)
            except BadImage as error:
                reason = str(error)
            result.bad.append((dataset.locate(source), reason))
    return result


def _bytes(data: bytes, size: int | None, quality: int | None) -> tuple[bytes, tuple[int, int]]:
    """Check that the image is whole; its bytes, or new ones where asked, and (height, width)."""
    image = decode(data)
    if size is not None and image.shape[:2] != (size, size):
        return encode(decode(data, size), ".jpg", quality or 95), (size, size)
    shape = image.shape[:2]
    return (encode(image, ".jpg", quality) if quality is not None else data), shape


def _start(
    dataset: Dataset, folder: Path, key: str, size: int
) -> tuple[RecordWriter, list[tuple[int, ...]], BinaryIO]:
    """Open writer and journal where an earlier run of the same job stopped; its entries too."""
    path = folder / _JOURNAL
    head = key.encode().ljust(128)[:128]
    entries = _whole_entries(folder, head)
    names: list[str] = []
    by_label = np.argsort(dataset.labels, kind="stable")
    for at, label, *_ in entries:
        if label == len(names):
            names.append(str(dataset.identity_names[int(dataset.labels[by_label[at]])]))
    labels = [label for _, label, *_ in entries if label != _LEFT_OUT]
    writer = RecordWriter(
        folder,
        (size, size),
        identity_names=names,
        preprocessing=_stated(dataset, size),
        extra={"source": dataset.name, "source_fingerprint": dataset.fingerprint},
        continued=(labels, entries[-1][2], entries[-1][3]) if entries else None,
    )
    journal = path.open("wb", buffering=0)
    journal.write(head + b"".join(_ENTRY.pack(*entry) for entry in entries))
    return writer, entries, journal


def _whole_entries(folder: Path, head: bytes) -> list[tuple[int, ...]]:
    """Journal entries of the same job whose bytes have reached both partial files."""
    try:
        data = (folder / _JOURNAL).read_bytes()
        rec = (folder / "train.rec.partial").stat().st_size
        idx = (folder / "train.idx.partial").stat().st_size
    except OSError:
        return []
    if data[:128] != head:
        return []
    whole = len(data[128:]) // _ENTRY.size * _ENTRY.size
    found = list(_ENTRY.iter_unpack(data[128 : 128 + whole]))
    return [entry for entry in found if entry[2] <= rec and entry[3] <= idx]


def _stated(dataset: Dataset, size: int) -> Preprocessing:
    """The set's pre-processing, at the size that is written."""
    if dataset.preprocessing.size == size:
        return dataset.preprocessing
    return replace(dataset.preprocessing, size=size)


def check_target(folder: str | Path) -> None:
    """Refuse a folder that holds a finished set already, before any work is done."""
    if (Path(folder) / "train.rec").exists():
        raise FrfwError(f"{folder} already holds a train.rec: give another folder or remove it")
