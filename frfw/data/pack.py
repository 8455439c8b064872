"""Pack any source into RecordIO: resumable, re-encoding nothing unless asked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage, decode, encode, resize
from frfw.data.index_cache import MIN_IMAGES
from frfw.data.output import only_writer, refuse_source
from frfw.data.pack_journal import JOURNAL, VERSION, entry, head, position, whole_entries
from frfw.data.preprocessing import Preprocessing
from frfw.data.record_writer import RecordWriter
from frfw.data.recordio import RecordDataset


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
        FrfwError: the folder holds a set already, is a source's own folder of images, or another
            run writes to it; or no image is good.
    """
    folder = Path(folder)
    refuse_source(dataset, folder)
    with only_writer(folder, "pack"):
        return _pack(dataset, folder, size, quality, progress)


def _pack(
    dataset: Dataset,
    folder: Path,
    size: int | None,
    quality: int | None,
    progress: Callable[[int], object],
) -> PackResult:
    order = np.argsort(dataset.labels, kind="stable")
    key = json.dumps([VERSION, dataset.fingerprint, size, quality])
    entries = whole_entries(folder, key)
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
            journal.write(entry(at, number, *writer.tell(), shape))
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
        (folder / JOURNAL).unlink()
    writer.extra["left_out"] = len(result.bad)
    writer.close()
    (folder / JOURNAL).unlink()
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
    for at in range(position(entries), len(order)):
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
    journal = (folder / JOURNAL).open("wb", buffering=0)
    journal.write(head(key) + entries.tobytes())
    return writer, journal


def _so_far(dataset: Dataset, order: np.ndarray, entries: np.ndarray) -> PackResult:
    """What an interrupted run had found: an image before its last one without entry was bad."""
    result = PackResult(sizes=Counter(map(tuple, entries["shape"].tolist())))
    written = np.zeros(position(entries), bool)
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


def _stated(dataset: Dataset, size: int) -> Preprocessing:
    """The set's pre-processing, at the size that is written."""
    if dataset.preprocessing.size == size:
        return dataset.preprocessing
    return replace(dataset.preprocessing, size=size)
