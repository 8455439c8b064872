"""A list of images: CSV or Parquet with the columns path, identity and optionally landmarks."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frfw.data.arrow import column_of, give_back, numbers
from frfw.data.dataset import contiguous
from frfw.data.decode import BadImage
from frfw.data.index_cache import Arrays, IndexedDataset
from frfw.data.manifest import read_manifest
from frfw.data.preprocessing import Preprocessing
from frfw.data.strings import StringColumn
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

    def _read_index(self, path: Path) -> Arrays:
        import pyarrow as pa

        try:
            return self._arrays(path, _read(path))
        except (pa.ArrowException, KeyError) as error:  # a column of a type that is no text
            raise FrfwError(f"{path} cannot be read as a list of images: {error}") from error

    def _arrays(self, path: Path, table: pa.Table) -> Arrays:
        for column in ("path", "identity"):
            if column not in table.column_names:
                hint = nearest(column, table.column_names)
                raise FrfwError(f"{path} has no column {column!r}.{hint}")
            _refuse(table[column].is_null(), path, f"{column} is empty")
        if len(table) < 2:
            raise FrfwError(f"{path} lists {len(table)} images: nothing to train on")
        arrays: Arrays = {}
        landmarks = _landmarks(path, table)
        if landmarks is not None:
            arrays["landmarks"] = landmarks
        if "group" in table.column_names:
            groups = StringColumn.of_arrow(_text(table["group"]).fill_null(""))
            arrays |= groups.arrays("groups")
        arrays["labels"], names = _identities(table["identity"])
        paths = _text(table["path"])
        del table  # its columns, hundreds of megabytes for millions of rows, are not needed twice
        give_back()
        self._check_paths(path, paths)
        arrays |= StringColumn.of_arrow(paths).arrays("paths")
        return arrays | names.arrays("identities")

    def _check_paths(self, where: Path, paths: pa.ChunkedArray) -> None:
        import pyarrow.compute as pc

        texts = (chunk.buffers()[2] for chunk in paths.chunks)  # all paths of a chunk in one
        if not any(text is not None and re.search(rb"\.\.", text) for text in texts):
            return  # Arrow's expression takes ten times as long
        climbing = pc.match_substring_regex(paths, r"(?:^|[/\\])\.\.(?:[/\\]|$)")
        _refuse(climbing, where, f"{{!r}} leads out of {self.root}", paths)

    def read(self, index: int) -> bytes:
        try:
            with open(os.path.join(self.root, self._paths[index]), "rb") as file:
                return file.read()
        except (OSError, ValueError) as error:
            raise BadImage(f"it cannot be read: {error}") from error

    def locate(self, index: int) -> str:
        return str(self.root / self._paths[index])

    def _content_digest(self) -> bytes:
        digest = hashlib.blake2b(np.ascontiguousarray(self._paths.data))
        digest.update(np.ascontiguousarray(self._paths.offsets))
        return digest.digest()


def _read(path: Path) -> pa.Table:
    import pyarrow as pa

    try:
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path)
        import pandas as pd  # a second to import; it knows more dialects of CSV than Arrow

        text = {"identity": str, "path": str, "group": str}
        # An identity may be called NA or null; only what is empty is missing.
        options = {"keep_default_na": False, "na_values": [""], "skipinitialspace": True}
        return pa.Table.from_pandas(pd.read_csv(path, dtype=text, **options), preserve_index=False)
    except FileNotFoundError as error:
        raise FrfwError(f"{path} is missing") from error
    except Exception as error:  # a damaged Parquet file raises nearly anything in there
        raise FrfwError(f"{path} cannot be read as a table: {error}") from error


def _read_parquet(path: Path) -> pa.Table:
    """Read the columns that are wanted; identities that are text come coded, as they lie there."""
    import pyarrow.parquet as pq

    wanted = {"path", "identity", "group", *LANDMARKS}
    fields = [field for field in pq.read_schema(path) if field.name in wanted]
    text = ("string", "large_string")
    coded = [f.name for f in fields if f.name == "identity" and str(f.type) in text]
    # `pq.read_table` would import pandas.
    with pq.ParquetFile(path, read_dictionary=coded) as file:
        return file.read(columns=[field.name for field in fields])


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column as text, with room for more than 2 GB of it."""
    return column.cast("large_string")


def _identities(column: pa.ChunkedArray) -> tuple[np.ndarray, StringColumn]:
    """Number the identities in the order of their names: labels (N,) int64 and the names."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        column = _text(column).dictionary_encode()
    coded = column.unify_dictionaries().combine_chunks()
    names = coded.dictionary.cast("large_string")
    order = pc.sort_indices(names)
    place = np.empty(len(order), np.int64)
    place[numbers(order, np.uint64)] = np.arange(len(order))
    # A categorical column may name identities that no row has.
    labels, present = contiguous(place[numbers(coded.indices.cast("int32"), np.int32)])
    return labels, StringColumn.of_arrow(names.take(order.take(column_of(present))))


def _refuse(wrong: pa.ChunkedArray, where: Path, what: str, values: Any = None) -> None:
    """Raise FrfwError for the first row that is wrong."""
    import pyarrow.compute as pc

    if pc.any(wrong).as_py():
        at = wrong.index(True).as_py()
        shown = what if values is None else what.format(values[at].as_py())
        raise FrfwError(f"{where}, row {at + 1}: {shown}")


def _landmarks(path: Path, table: pa.Table) -> np.ndarray | None:
    import pyarrow as pa

    present = [column for column in LANDMARKS if column in table.column_names]
    if not present:
        return None
    if len(present) < len(LANDMARKS):
        missing = sorted(set(LANDMARKS) - set(present))
        raise FrfwError(f"{path} has some landmark columns but not {', '.join(missing)}")
    try:
        columns = [table[name].cast("float64").to_numpy() for name in LANDMARKS]
    except (pa.ArrowException, ValueError) as error:
        raise FrfwError(f"{path}: a landmark is no number: {error}") from error
    return np.stack(columns, 1).astype(np.float32).reshape(-1, 5, 2)
