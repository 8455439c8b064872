"""The columns of a list file, whole or in parts, from CSV or Parquet."""

from __future__ import annotations

import codecs
import contextlib
import csv
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from frfw.errors import FrfwError

if TYPE_CHECKING:
    import pyarrow as pa  # slow to import, so at run time only where a list is read
    from pyarrow.csv import CSVStreamingReader

TEXT = ("path", "identity", "group")
_ROWS = 1 << 18  # of a part


class ListTable(ABC):
    """A table whose columns are read when asked for.

    Attributes:
        names: of the columns, as they stand there; one may occur twice.
    """

    names: list[str]

    def place(self, row: int) -> str:
        """Say where row 0, 1, ... is: in a text file the line, counted from 1 with the header."""
        return f"row {row + 1}"

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
    return _SpacedCsv(path) if spaced else _ArrowCsv(path)


class _Csv(ListTable):
    def __init__(self, path: Path) -> None:
        self._path = path

    def place(self, row: int) -> str:
        return f"line {_line_of(self._path, row + 1)}"


def _line_of(path: Path, record: int) -> int:
    """The line where record 0 (the header), 1, ... of a CSV begins; some take several lines."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader, line = csv.reader(file, skipinitialspace=True), 1
        try:
            for fields in reader:
                if not record and fields:
                    break
                record -= bool(fields)  # of empty lines neither reader takes notice
                line = reader.line_num + 1
        except csv.Error:  # a NUL, say, that comes first
            return line + record
    return line


class _ArrowCsv(_Csv):
    """Read anew for each column; the file is long, and rarely are two columns wanted at once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with _reading(path, self):
            self.names = self._open([]).schema.names

    def _open(self, columns: list[str]) -> CSVStreamingReader:
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
        with _reading(self._path, self):
            batches = self._open(list(names))
        yield from _each(batches, self._path, self)


class _SpacedCsv(_Csv):
    """CSV with blanks around values, which are left out here and not by Arrow; read whole."""

    def __init__(self, path: Path) -> None:
        import pandas as pd  # a second to import
        import pyarrow as pa

        super().__init__(path)
        options = {"dtype": str, "keep_default_na": False, "skipinitialspace": True}
        with _reading(path, self):
            # Not as the header: pandas would rename what occurs twice.
            first = pd.read_csv(path, header=None, nrows=1, **options).iloc[0]
            self.names = [name.strip() for name in first]
            frame = pd.read_csv(path, **options)
            if not isinstance(frame.index, pd.RangeIndex):  # else pandas shifts the columns
                raise ValueError("its lines have more columns than the first one")
            for name in frame:
                text = frame[name].str.strip()
                frame[name] = text.where(text != "")
            table = pa.Table.from_pandas(frame, preserve_index=False)
        self._table = table.rename_columns(self.names)

    def column(self, name: str) -> pa.ChunkedArray:
        return self._table[name]

    def parts(self, *names: str) -> Iterator[pa.RecordBatch]:
        yield from self._table.select(names).to_batches(_ROWS)


def _is_spaced(path: Path) -> bool:
    """Whether any value begins or ends with a blank."""
    last = b"\n"
    with path.open("rb") as file:
        while piece := file.read(1 << 18):  # small enough for a processor's cache
            if b" " in piece or b"\t" in piece:  # looking for one byte is fast
                text = np.frombuffer(last + piece, np.uint8)
                blank = (text == ord(" ")) | (text == ord("\t"))
                edge = (text == ord(",")) | (text == ord("\n")) | (text == ord("\r"))
                if (blank[1:] & edge[:-1]).any() or (edge[1:] & blank[:-1]).any():
                    return True
            last = piece[-1:]
    return last in (b" ", b"\t")


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


def _each(
    batches: Iterable[pa.RecordBatch], path: Path, table: ListTable | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield them; what fails in reading is told from what fails in whoever takes them."""
    batches = iter(batches)
    while True:
        with _reading(path, table):
            part = next(batches, None)
        if part is None:
            return
        yield part


@contextlib.contextmanager
def _reading(path: Path, table: ListTable | None = None) -> Iterator[None]:
    """Say what fails in reading.

    Args:
        table: a CSV, to say on which line; Arrow counts records, the header as the first.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise FrfwError(f"{path} is missing") from error
    except Exception as error:  # a damaged Parquet file raises nearly anything in there
        why = str(error)
        if "straddling" in why:  # Arrow's advice, larger blocks, would not help
            why = "a quotation mark is opened and not closed for a megabyte"
        if table is not None and _is_utf16(path):
            why = "it is UTF-16, as some spreadsheets write text: save it as UTF-8"
        if table is not None:
            why = re.sub(r"Row #(\d+)", lambda found: table.place(int(found[1]) - 2), why)
        raise FrfwError(f"{path} cannot be read as a table: {why}") from error


def _is_utf16(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
