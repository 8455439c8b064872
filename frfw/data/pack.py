"""Pack any source into RecordIO: resumable, re-encoding nothing unless asked."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage, decode, encode, resize
from frfw.data.index_cache import MIN_IMAGES
from frfw.data.preprocessing import Preprocessing
from frfw.data.record_writer import RecordWriter
from frfw.data.recordio import RecordDataset
from frfw.errors import FrfwError

_JOURNAL = "pack.journal.partial"
_VERSION = 2  # of the journal
# Place in the order, label, end of the .rec, end of the .idx, height, width; a CRC-32 of these.
# Bad images have no entry.
_FIELDS = [("at", "<i8"), ("label", "<i8"), ("rec", "<i8"), ("idx", "<i8"), ("shape", "<u4", 2)]
_ENTRY = np.dtype([*_FIELDS, ("check", "<u4")])


@dataclass
class PackResult:
    """What came of it.

    Attributes:
        images, identities: what was written.
        bad: (place, reason) of each image that was left out.
        sizes: {(height, width): images} of what was written.
    """

    images: int = 0
    identities: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)

    @property
    def warning(self) -> str:
        """What MXNet-based tools, which take one square size, will stumble over; or nothing."""
        listed = ", ".join(f"{w}x{h} ({n})" for (h, w), n in self.sizes.most_common(4))
        if len(self.sizes) > 1:
            return (
                f"the images have {len(self.sizes)} sizes: {listed}, ...; frfw resizes them when "
                f"it reads, MXNet-based tools fail on them: pack with --size, or align first"
            )
        if any(height != width for height, width in self.sizes):
            return f"the images are not square: {listed}; frfw will distort them: align first"
        return ""


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
    `property` states the size of the images, the most frequent one where they differ.
    An interrupted run leaves `*.partial` files, with which the same call goes on.

    Raises:
        FrfwError: the folder holds a set already, or no image is good.
    """
    folder = Path(folder)
    order = np.argsort(dataset.labels, kind="stable")
    key = json.dumps([_VERSION, dataset.fingerprint, size, quality])
    entries = _whole_entries(folder, key)
    writer, journal = _start(dataset, order, folder, key, entries, size or dataset.size)
    before = int(dataset.labels[order[entries["at"][-1]]]) if len(entries) else -1
    result = _so_far(dataset, order, entries)
    try:
        for at, source, data, shape in _good(dataset, order, entries, result, size, quality):
            label = int(dataset.labels[source])
            if label != before:
                writer.identity_names.append(str(dataset.identity_names[label]))
                before = label
            number = len(writer.identity_names) - 1
            writer.add(data, number)
            journal.write(_entry(at, number, *writer.tell(), shape))
            result.sizes[shape] += 1
            progress(at + 1)
    except BaseException:
        writer.suspend()
        journal.close()
        raise
    journal.close()
    result.images, result.identities = len(writer), len(writer.identity_names)
    if result.sizes:
        writer.image_size = result.sizes.most_common(1)[0][0]
    else:  # nothing to go on with: `close` says so
        (folder / _JOURNAL).unlink()
    writer.extra["left_out"] = len(result.bad)
    writer.close()
    (folder / _JOURNAL).unlink()
    if result.images >= MIN_IMAGES:
        RecordDataset(folder)  # reads and keeps the index, so that a training opens it at once
    return result


def _good(
    dataset: Dataset,
    order: np.ndarray,
    entries: np.ndarray,
    result: PackResult,
    size: int | None,
    quality: int | None,
) -> Iterator[tuple[int, int, bytes, tuple[int, int]]]:
    """Yield (place in the order, image, bytes, shape) of what is still to be written."""
    for at in range(_position(entries), len(order)):
        source = int(order[at])
        try:
            data, shape = _bytes(dataset.read(source), size, quality)
        except BadImage as error:
            result.bad.append((dataset.locate(source), str(error)))
            continue
        yield at, source, data, shape


def _bytes(data: bytes, size: int | None, quality: int | None) -> tuple[bytes, tuple[int, int]]:
    """Check that the image is whole; return its bytes, or new ones where asked, and its shape."""
    image = decode(data)
    if size is not None and image.shape[:2] != (size, size):
        return encode(resize(image, size), ".jpg", quality or 95), (size, size)
    return encode(image, ".jpg", quality) if quality is not None else data, image.shape[:2]


def _start(
    dataset: Dataset, order: np.ndarray, folder: Path, key: str, entries: np.ndarray, size: int
) -> tuple[RecordWriter, BinaryIO]:
    """Open writer and journal, at the place where an earlier run of the same job stopped."""
    firsts = entries["at"][np.flatnonzero(np.diff(entries["label"], prepend=-1))]
    names = [str(dataset.identity_names[int(dataset.labels[order[at]])]) for at in firsts]
    done = None
    if len(entries):
        done = entries["label"].tolist(), int(entries["rec"][-1]), int(entries["idx"][-1])
    writer = RecordWriter(
        folder,
        (size, size),
        identity_names=names,
        preprocessing=_stated(dataset, size),
        extra={"source": dataset.name, "source_fingerprint": dataset.fingerprint},
        continued=done,
    )
    journal = (folder / _JOURNAL).open("wb", buffering=0)
    journal.write(_head(key) + entries.tobytes())
    return writer, journal


def _so_far(dataset: Dataset, order: np.ndarray, entries: np.ndarray) -> PackResult:
    """What an interrupted run had found: an image before its last one without entry was bad."""
    result = PackResult(sizes=Counter(map(tuple, entries["shape"].tolist())))
    written = np.zeros(_position(entries), bool)
    written[entries["at"]] = True
    for at in np.flatnonzero(~written).tolist():
        source = int(order[at])
        reason = "it could not be read when packing began"
        try:
            decode(dataset.read(source))
        except BadImage as error:
            reason = str(error)
        result.bad.append((dataset.locate(source), reason))
    return result


def _position(entries: np.ndarray) -> int:
    return int(entries["at"][-1]) + 1 if len(entries) else 0


def _head(key: str) -> bytes:
    return key.encode().ljust(128)[:128]


def _entry(at: int, label: int, rec: int, idx: int, shape: tuple[int, int]) -> bytes:
    data = np.array((at, label, rec, idx, shape, 0), _ENTRY).tobytes()[:-4]
    return data + zlib.crc32(data).to_bytes(4, "little")


def _whole_entries(folder: Path, key: str) -> np.ndarray:
    """Journal entries of the same job, undamaged, whose bytes have reached both partial files."""
    try:
        data = (folder / _JOURNAL).read_bytes()
        rec = (folder / "train.rec.partial").stat().st_size
        idx = (folder / "train.idx.partial").stat().st_size
    except OSError:
        return np.zeros(0, _ENTRY)
    if data[:128] != _head(key):
        return np.zeros(0, _ENTRY)
    width, end = _ENTRY.itemsize, 128
    while end + width <= len(data):
        entry = data[end : end + width]
        if zlib.crc32(entry[:-4]) != int.from_bytes(entry[-4:], "little"):
            break
        end += width
    found = np.frombuffer(data[128:end], _ENTRY)
    return found[: np.count_nonzero((found["rec"] <= rec) & (found["idx"] <= idx))]


def _stated(dataset: Dataset, size: int) -> Preprocessing:
    """The set's pre-processing, at the size that is written."""
    if dataset.preprocessing.size == size:
        return dataset.preprocessing
    return replace(dataset.preprocessing, size=size)


def check_target(folder: str | Path) -> None:
    """Refuse a folder that holds a finished set already, before any work is done."""
    if (Path(folder) / "train.rec").exists():
        raise FrfwError(f"{folder} already holds a train.rec: give another folder or remove it")
