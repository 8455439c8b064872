"""The columns of a list file, whole or in parts, from CSV or Parquet."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from frfw.errors import FrfwError

if TYPE_CHECKING:
    import pyarrow as pa  # slow to import, so at run time only where a list is read
    from pyarrow import csv

TEXT = ("path", "identity", "group")
_ROWS = 1 << 18  # of a part


class ListTable(ABC):
    """A table whose columns are read when asked for.

    Attributes:
        names: of the columns.
    """

    names: list[str]

    @abstractmethod
    def column(self, name: str) -> pa.ChunkedArray:
        """Return a whole column; of text it may come dictionary-coded."""

    @abstractmethod
    def parts(self, *names: str) -> Iterator[pa.RecordBatch]:
        """Yield the named columns, some rows at a time; no two parts need be in memory together."""


def open_table(path: Path) -> ListTable:
    """Open a CSV or Parquet file.

    Raises:
        FrfwError: it is missing or damaged; reading the columns raises it too.
    """
    if path.suffix.lower() == ".parquet":
        return _Parquet(path)
    with _reading(path):
        spaced = _is_spaced(path)
    return _SpacedCsv(path) if spaced else _Csv(path)


class _Csv(ListTable):
    """Read anew for each column; the file is long, and rarely are two columns wanted at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _reading(path):
            self.names = self._open([]).schema.names

    def _open(self, columns: list[str]) -> csv.CSVStreamingReader:
        from pyarrow import csv, string

        return csv.open_csv(
            self._path,
            csv.ReadOptions(use_threads=False),  # as fast, and errors know their line
            csv.ParseOptions(newlines_in_values=True),
            # An identity may be called NA or null; only what is empty is missing.
            csv.ConvertOptions(
                column_types=dict.fromkeys([*columns, *TEXT], string()),
                include_columns=columns,
                null_values=[""],
                strings_can_be_null=True,
            ),
        )

    def column(self, name: str) -> pa.ChunkedArray:
        import pyarrow as pa

        parts = [part[name].dictionary_encode() for part in self.parts(name)]
        return pa.chunked_array(parts, pa.dictionary(pa.int32(), pa.string()))

    def parts(self, *names: str) -> Iterator[pa.RecordBatch]:
        with _reading(self._path):
            batches = self._open(list(names))
        yield from _each(batches, self._path)


class _SpacedCsv(ListTable):
    """CSV with blanks behind commas, which pandas leaves out and Arrow does not; read whole."""

    def __init__(self, path: Path) -> None:
        import pandas as pd  # a second to import
        import pyarrow as pa

        options = {"keep_default_na": False, "na_values": [""], "skipinitialspace": True}
        with _reading(path):
            frame = pd.read_csv(path, dtype=dict.fromkeys(TEXT, str), **options)
            self._table = pa.Table.from_pandas(frame, preserve_index=False)
        self.names = self._table.column_names

    def column(self, name: str) -> pa.ChunkedArray:
        return self._table[name]

    def parts(self, *names: str) -> Iterator[pa.RecordBatch]:
        yield from self._table.select(names).to_batches(_ROWS)


def _is_spaced(path: Path) -> bool:
    """Whether any value begins with a blank."""
    last = b"\n"
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            if b" " in piece or b"\t" in piece:  # looking for one byte is fast
                text = last + piece
                if any(blank in text for blank in (b", ", b",\t", b"\n ", b"\n\t")):
                    return True
            last = piece[-1:]
    return False


class _Parquet(ListTable):
    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq  # `pq.read_table` would import pandas

        self._path = path
        with _reading(path):
            schema = pq.read_schema(path)
            text = [f.name for f in schema if str(f.type) in ("string", "large_string")]
            # Identities come coded, as they lie there: many rows share one.
            self._file = pq.ParquetFile(path, read_dictionary=list({"identity"} & set(text)))
        self.names = schema.names

    def column(self, name: str) -> pa.ChunkedArray:
        with _reading(self._path):
            return self._file.read(columns=[name])[name]

    def parts(self, *names: str) -> Iterator[pa.RecordBatch]:
        yield from _each(self._file.iter_batches(_ROWS, columns=names), self._path)


def _each(batches: Iterable[pa.RecordBatch], path: Path) -> Iterator[pa.RecordBatch]:
    """Yield them; what fails in reading is told from what fails in whoever takes them."""
    batches = iter(batches)
    while True:
        with _reading(path):
            part = next(batches, None)
        if part is None:
            return
        yield part


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FrfwError(f"{path} is missing") from error
    except Exception as error:  # a damaged Parquet file raises nearly anything in there
        why = str(error)
        if "straddling" in why:  # Arrow's advice, larger blocks, would not help
            why = "a quotation mark is opened and not closed for a megabyte"
        raise FrfwError(f"{path} cannot be read as a table: {why}") from error
