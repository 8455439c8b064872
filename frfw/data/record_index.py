"""Where each image of a RecordIO file is and whose it is, as arrays."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frfw.data.arrow import give_back, numbers
from frfw.data.recordio_format import MAGIC
from frfw.errors import FrfwError

_CHUNK = 1 << 17
_THREADS = 8
_LENGTH = (1 << 29) - 1  # the lower bits of a frame's second word
_SMALLEST = 32  # bytes of a record with a header and one byte of an image


@dataclass
class RecordIndex:
    """Images of a RecordIO file, ascending by key.

    Attributes:
        starts, ends: (N,) int64 byte range of each image's record.
        labels: (N,) int64 as written, not renumbered.
        keys: (N,) int64.
        classes: identities that the header record announces, or None without a header.
    """

    starts: np.ndarray
    ends: np.ndarray
    labels: np.ndarray
    keys: np.ndarray
    classes: int | None


def read_index(rec: Path, idx: Path) -> RecordIndex:
    """Read and check `idx` against `rec`; no image is decoded.

    Raises:
        FrfwError: a file is missing or damaged, they do not belong together, `rec` is truncated,
            bytes of it belong to no record in `idx`, or a label is no class.
    """
    for path in (rec, idx):
        if not path.is_file():
            raise FrfwError(f"{path} is missing: a RecordIO set is train.rec with train.idx")
    size = os.path.getsize(rec)
    if size < _SMALLEST:
        raise FrfwError(f"{rec} is truncated: it has {size} bytes, no whole record")
    keys, starts = _read_idx(idx)
    _check_range(rec, idx, keys, starts, size)
    starts, ends = _ranges(idx, starts, size)
    if starts.min() > 0:
        _refuse_gap(rec, idx, 0, int(starts.min()))
    return _split(rec, keys, starts, ends, *_read_headers(rec, idx, keys, starts, ends, size))


def _read_idx(idx: Path) -> tuple[np.ndarray, np.ndarray]:
    hint = f"{idx} is not an index of `key<TAB>offset` lines: take the one made with its .rec"
    from pyarrow import ArrowException, csv  # slow to import, so only where an index is read

    names = ["key", "start"]
    columns = [bytearray(), bytearray()]  # grow without a second copy: 160 MB for 10 million lines
    try:
        with csv.open_csv(
            idx,
            csv.ReadOptions(column_names=names),
            csv.ParseOptions(delimiter="\t", quote_char=False),
            csv.ConvertOptions(column_types=dict.fromkeys(names, "int64"), null_values=[]),
        ) as lines:
            for batch in lines:
                for column, part in zip(columns, batch.columns):
                    column += memoryview(numbers(part, np.int64)).cast("B")
    except (ArrowException, ValueError) as error:
        raise FrfwError(hint) from error
    give_back()
    keys, starts = (np.frombuffer(column, np.int64) for column in columns)
    if not len(keys):
        raise FrfwError(hint)
    if not _ascending(keys):
        order = np.argsort(keys, kind="stable")
        keys, starts = keys[order], starts[order]
        double = np.flatnonzero(keys[1:] == keys[:-1])
        if len(double):
            raise FrfwError(f"{idx} is wrong: key {keys[double[0]]} occurs twice")
    return keys, starts


def _ascending(values: np.ndarray) -> bool:
    return bool((values[1:] > values[:-1]).all())


def _ranges(idx: Path, starts: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where each record begins and ends: it ends where the next one in the file begins."""
    if _ascending(starts):  # as every writer does: millions of numbers need no sorting
        bounds = np.append(starts, size)
        return bounds[:-1], bounds[1:]
    by_place = np.argsort(starts, kind="stable")
    placed = starts[by_place]
    if not _ascending(placed):
        raise FrfwError(f"{idx} is wrong: two keys point to the same record")
    ends = np.empty_like(starts)
    ends[by_place] = np.append(placed[1:], size)
    return starts, ends


def _check_range(rec: Path, idx: Path, keys: np.ndarray, starts: np.ndarray, size: int) -> None:
    wrong = np.flatnonzero((starts < 0) | (starts % 4 != 0))
    if len(wrong):
        at = wrong[0]
        raise FrfwError(f"{idx} is wrong: no record can begin at {starts[at]} (key {keys[at]})")
    beyond = np.flatnonzero(starts > size - _SMALLEST)
    if len(beyond):
        at = beyond[np.argmin(starts[beyond])]
        raise FrfwError(
            f"{rec} is truncated, or {idx.name} is of another file: record {keys[at]} should "
            f"begin at byte {starts[at]}, the file has {size}; copy or pack it again"
        )


def _read_headers(
    rec: Path,
    idx: Path,
    keys: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    size: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every record: whether its label is a list, its (first) label, whether it has an image."""
    listed = np.empty(len(starts), bool)
    labels = np.empty(len(starts), np.float32)
    image = np.empty(len(starts), bool)

    def read(at: int) -> None:
        part = slice(at, at + _CHUNK)
        listed[part], labels[part], image[part] = _headers(
            rec, idx, keys[part], starts[part], ends[part], size
        )

    # Each thread waits for its own pages of a file that may be far away.
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(read, range(0, len(starts), _CHUNK)))  # the first error is raised here
    return listed, labels, image


def _headers(
    rec: Path, idx: Path, keys: np.ndarray, starts: np.ndarray, ends: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the headers of one chunk. Only its part of the file is mapped, and let go again."""
    begin, end = int(starts.min()), min(size, int(ends.max()) + _SMALLEST)
    words = np.memmap(rec, "<u4", mode="r", offset=begin, shape=((end - begin) // 4,))
    first = (starts - begin) // 4
    bad = np.flatnonzero(words[first] != MAGIC)
    if len(bad):
        raise FrfwError(
            f"{idx} does not fit {rec.name}: no record begins at byte {starts[bad[0]]} "
            f"(key {keys[bad[0]]}); take the .idx that was made with this .rec"
        )
    coded = words[first + 1]
    length = (coded & _LENGTH).astype(np.int64)
    bad = np.flatnonzero(starts + 8 + length > ends)
    if len(bad):
        _refuse_overlong(rec, idx, keys[bad[0]], ends[bad[0]] == size)
    split = coded >> 29 != 0
    _refuse_gaps(rec, idx, words, begin, starts, ends, np.where(split, -1, length))
    flags = words[first + 2]
    image_at = 24 + 4 * flags.astype(np.int64)
    bad = np.flatnonzero(~split & (length < image_at))
    if len(bad):
        raise FrfwError(
            f"{rec} is damaged: record {keys[bad[0]]} says {flags[bad[0]]} labels and is too short "
            "for them; copy it again"
        )
    where = first + np.where(flags > 0, 8, 3)
    labels = words[np.minimum(where, len(words) - 1)].view(np.float32)
    return flags > 0, labels, split | (length > image_at)


def _refuse_gaps(
    rec: Path,
    idx: Path,
    words: np.ndarray,
    begin: int,
    starts: np.ndarray,
    ends: np.ndarray,
    length: np.ndarray,
) -> None:
    """Refuse a record behind which something else comes before the next one that `idx` has.

    Args:
        words: of the file from byte `begin` on.
        length: of the records' payloads, -1 of split ones.
    """
    stops = starts + 8 + (length + 3) // 4 * 4
    for at in np.flatnonzero(length < 0):  # rare: an image holds the magic number by chance
        stops[at] = _end_of_split(words, begin, int(starts[at]), int(ends[at]))
    gap = np.flatnonzero(stops < ends)
    if len(gap):
        _refuse_gap(rec, idx, int(stops[gap[0]]), int(ends[gap[0]]))


def _end_of_split(words: np.ndarray, begin: int, start: int, end: int) -> int:
    """Where a record in parts ends; `end` where they are damaged: reading it will tell."""
    at, parts = start, 0
    while at + 8 <= end:
        magic, coded = words[(at - begin) // 4 : (at - begin) // 4 + 2].tolist()
        part = coded >> 29
        if magic != MAGIC or part != (1 if not parts else part) or part not in (1, 2, 3):
            return end
        at, parts = at + 8 + ((coded & _LENGTH) + 3) // 4 * 4, parts + 1
        if part == 3:
            return at
    return end


def _refuse_gap(rec: Path, idx: Path, begin: int, end: int) -> None:
    """Lines of an .idx are lost without a trace: each record must end where another begins."""
    raise FrfwError(
        f"{idx} is incomplete: it has no record for the bytes {begin} to {end} of {rec.name}; take "
        "the .idx that was made with this .rec (a part of a set is chosen by data.keep, "
        "data.exclude or data.patch)"
    )


def _refuse_overlong(rec: Path, idx: Path, key: int, last: bool) -> None:
    if last:
        raise FrfwError(
            f"{rec} is truncated: its last record (key {key}) is cut off; copy it again"
        )
    raise FrfwError(f"{idx} does not fit {rec.name}: record {key} runs into the next one")


def _split(
    rec: Path,
    keys: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    listed: np.ndarray,
    labels: np.ndarray,
    image: np.ndarray,
) -> RecordIndex:
    """Keep the image records; the header (key 0) says where they end and how many identities."""
    classes = None
    if keys[0] == 0 and listed[0] and not image[0]:
        first, last = _header_range(rec, int(starts[0]))
        classes = last - first
        # The header counts in float32, exact to 2^24 only: a larger set may be off by a little.
        images = int(image.sum())
        if abs(images + 1 - first) > max(first, images) / 2**23:
            raise FrfwError(
                f"{rec}: the header announces {first - 1} images, its .idx gives {images}; "
                f"the .idx is incomplete or of another file"
            )
    kept = _selection(image)
    starts, ends, labels, keys = starts[kept], ends[kept], labels[kept], keys[kept]
    wrong = np.flatnonzero(~((labels >= 0) & (labels == np.floor(labels)) & (labels < 2**31)))
    if len(wrong):
        key, label = keys[wrong[0]], labels[wrong[0]]
        raise FrfwError(f"{rec}: record {key} has label {label}, which is no class")
    return RecordIndex(starts, ends, labels.astype(np.int64), keys, classes)


def _selection(chosen: np.ndarray) -> slice | np.ndarray:
    """Return what indexes the chosen (N,) bool: a slice, which copies nothing, where it is a run.

    MXNet's files have a header before the images and the records of identities behind them.
    """
    first, last = int(chosen.argmax()), len(chosen) - int(chosen[::-1].argmax())
    return slice(first, last) if chosen[first:last].all() else chosen


def _header_range(rec: Path, start: int) -> tuple[int, int]:
    numbers = np.fromfile(rec, "<f4", count=2, offset=start + 32)
    if len(numbers) < 2 or not np.isfinite(numbers).all() or not 1 <= numbers[0] <= numbers[1]:
        raise FrfwError(f"{rec}: the header record is damaged: it says {numbers.tolist()}")
    return int(numbers[0]), int(numbers[1])
