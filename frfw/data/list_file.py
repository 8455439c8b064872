"""A list of images: CSV or Parquet with the columns path, identity and optionally landmarks."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frfw.data.arrow import column_of, numbers
from frfw.data.dataset import contiguous
from frfw.data.image_file import read_image_file
from frfw.data.index_cache import IndexedDataset, Pieces
from frfw.data.list_table import ListTable, open_table
from frfw.data.manifest import read_manifest
from frfw.data.preprocessing import Preprocessing
from frfw.data.strings import StringColumn, joined
from frfw.errors import FrfwError, nearest

if TYPE_CHECKING:
    import pyarrow as pa  # slow to import, so at run time only where a list is read

LANDMARKS = [f"{axis}{point}" for point in range(1, 6) for axis in "xy"]


class ListDataset(IndexedDataset):
    """Images that a CSV or Parquet file lists.

    Columns: `path` (relative to `root`, by default the list's folder; absolute paths are taken as
    they are), `identity` (any text or number), optionally x1, y1 ... x5, y5 (five landmarks in
    pixels of the image) and `group` (kept in `.groups`, N strings).

    Attributes:
        landmarks: (N, 5, 2) float32 or None.

    Raises:
        FrfwError: the file cannot be read, a column is missing, a value is empty, a relative path
            leads out of `root`, or there are fewer than two rows.
    """

    def __init__(
        self, path: str | Path, size: int | None = None, root: str | Path | None = None
    ) -> None:
        path = Path(path)
        self.name, self.root = path.stem, Path(root) if root else path.parent
        self.open_index(path.name, [path], lambda: self._read_index(path))
        self.preprocessing = read_manifest(path.parent) or Preprocessing(size=size or 112)
        self.size = size or self.preprocessing.size

    @property
    def _paths(self) -> StringColumn:
        return StringColumn.read(self.arrays, "paths")

    @property
    def identity_names(self) -> StringColumn:  # type: ignore[override]
        return StringColumn.read(self.arrays, "identities")

    @property
    def groups(self) -> StringColumn | None:
        return StringColumn.read(self.arrays, "groups") if "groups_data" in self.arrays else None

    @property
    def landmarks(self) -> np.ndarray | None:
        return self.arrays.get("landmarks")

    def _read_index(self, path: Path) -> Pieces:
        import pyarrow as pa

        try:
            yield from self._pieces(path, open_table(path))
        except (pa.ArrowException, KeyError) as error:  # a column of a type that is no text
            raise FrfwError(f"{path} cannot be read as a list of images: {error}") from error

    def _pieces(self, path: Path, table: ListTable) -> Pieces:
        """Column by column and, but for the identities, part by part: paths are long."""
        _check_columns(path, table.names)
        points = _landmark_columns(path, table.names)
        yield from _identities(path, table)
        yield from joined("paths", self._paths_of(path, table))
        if "group" in table.names:
            groups = (_text(part["group"]).fill_null("") for part in table.parts("group"))
            yield from joined("groups", map(StringColumn.of_arrow, groups))
        if points:
            row = 0
            for part in table.parts(*points):
                yield "landmarks", _landmarks(path, table, part, row)
                row += len(part)

    def _paths_of(self, path: Path, table: ListTable) -> Iterator[StringColumn]:
        row = 0
        for part in table.parts("path"):
            _refuse(part["path"].is_null(), path, table, "path is empty", row)
            paths = _text(part["path"])
            self._check_paths(path, table, paths, row)
            yield StringColumn.of_arrow(paths)
            row += len(part)

    def _check_paths(self, where: Path, table: ListTable, paths: pa.Array, row: int) -> None:
        import pyarrow.compute as pc

        text = paths.buffers()[2]  # all paths in one
        if text is None or not re.search(rb"\.\.", text):
            return  # Arrow's expression takes ten times as long
        climbing = pc.match_substring_regex(paths, r"(?:^|[/\\])\.\.(?:[/\\]|$)")
        _refuse(climbing, where, table, f"{{!r}} leads out of {self.root}", row, paths)

    def read(self, index: int) -> bytes:
        return read_image_file(os.path.join(self.root, self._paths[index]))

    def locate(self, index: int) -> str:
        return str(self.root / self._paths[index])

    def _content_digest(self) -> bytes:
        digest = hashlib.blake2b(np.ascontiguousarray(self._paths.data))
        digest.update(np.ascontiguousarray(self._paths.offsets))
        return digest.digest()


def _text(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The column as text, with room for more than 2 GB of it."""
    return column.cast("large_string")


def _check_columns(path: Path, names: Sequence[str]) -> None:
    """Refuse a table without a column that is needed, or with one twice."""
    for column in ("path", "identity"):
        if column in names:
            continue
        found = f"{path} has no column {column!r}, only {', '.join(names)[:200]!r}"
        if any(";" in name or "\t" in name for name in names):
            raise FrfwError(f"{found}: columns must be separated by commas")
        raise FrfwError(f"{found}.{nearest(column, names) or ' The first line names the columns.'}")
    for column in ("path", "identity", "group", *LANDMARKS):
        if names.count(column) > 1:
            raise FrfwError(f"{path} has the column {column!r} {names.count(column)} times")


def _identities(where: Path, table: ListTable) -> Pieces:
    """Number the identities in the order of their names: labels (N,) int64 and the names."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column("identity")
    _refuse(column.is_null(), where, table, "identity is empty")
    if len(column) < 2:
        raise FrfwError(f"{where} lists {len(column)} images: nothing to train on")
    if not pa.types.is_dictionary(column.type):
        column = _text(column).dictionary_encode()
    coded = column.unify_dictionaries().combine_chunks()
    # Blanks around a name, quoted or of Parquet, would make one person two.
    names = pc.fill_null(coded.dictionary.cast("large_string"), "")
    trimmed = pc.utf8_trim_whitespace(names).dictionary_encode()
    codes, names = numbers(coded.indices.cast("int32"), np.int32), trimmed.dictionary
    if len(names) < len(trimmed):
        codes = numbers(trimmed.indices.cast("int32"), np.int32)[codes]
    blank = pc.index(names, "").as_py()
    if blank >= 0 and (codes == blank).any():
        raise FrfwError(
            f"{where}, {table.place(int((codes == blank).argmax()))}: identity is empty"
        )
    order = pc.sort_indices(names)
    place = np.empty(len(order), np.int64)
    place[numbers(order, np.uint64)] = np.arange(len(order))
    # A categorical column may name identities that no row has.
    labels, present = contiguous(place[codes])
    yield "labels", labels
    names = StringColumn.of_arrow(names.take(order.take(column_of(present))))
    yield from names.arrays("identities").items()


def _refuse(
    wrong: pa.Array | pa.ChunkedArray,
    where: Path,
    table: ListTable,
    what: str,
    row: int = 0,
    values: Any = None,
) -> None:
    """Raise FrfwError for the first row that is wrong; `row` are before these."""
    import pyarrow.compute as pc

    if pc.any(wrong).as_py():
        at = pc.index(wrong, True).as_py()
        shown = what if values is None else what.format(values[at].as_py())
        raise FrfwError(f"{where}, {table.place(row + at)}: {shown}")


def _landmark_columns(path: Path, names: Sequence[str]) -> list[str]:
    """Return the names of the ten columns, or none."""
    missing = sorted(set(LANDMARKS) - set(names))
    if 0 < len(missing) < len(LANDMARKS):
        raise FrfwError(f"{path} has some landmark columns but not {', '.join(missing)}")
    return [] if missing else LANDMARKS


def _landmarks(where: Path, table: ListTable, part: pa.RecordBatch, row: int) -> np.ndarray:
    """Return (N, 5, 2) float32; `row` are before these."""
    import pyarrow as pa

    columns = []
    for name in LANDMARKS:
        try:
            columns.append(part[name].cast("float64").to_numpy(zero_copy_only=False))
        except (pa.ArrowException, ValueError) as error:
            at, value = _no_number(part[name])
            raise FrfwError(
                f"{where}, {table.place(row + at)}: {name} {value!r} is no number"
            ) from error
    return np.stack(columns, 1).astype(np.float32).reshape(-1, 5, 2)


def _no_number(column: pa.Array) -> tuple[int, Any]:
    """The first value that Arrow takes for no number, and its place."""
    import pyarrow as pa

    for at, value in enumerate(column):
        try:
            value.cast("float64")
        except pa.ArrowException:
            return at, value.as_py()
    return 0, str(column.type)  # a type that is no text nor number
