"""The rows of a CSV with a header, with the line that each stands on."""

from __future__ import annotations

import csv
from pathlib import Path

from frfw.data.layouts.common import read_lines
from frfw.errors import FrfwError


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a CSV: its columns, and every row as (line in the file, cell by column).

    Spaces around names and cells are dropped; the cells that a short row lacks are empty; empty
    lines are passed over.

    Raises:
        FrfwError: it cannot be read as text or as CSV, names a column twice, or a row has more
            cells than there are columns.
    """
    reader = csv.reader(read_lines(path), skipinitialspace=True)
    try:
        columns = [cell.strip() for cell in next(reader, [])]
        for name in columns:
            if name and columns.count(name) > 1:
                raise FrfwError(f"{path}, line 1: the column {name!r} is there twice")
        rows = []
        for cells in reader:
            cells, at = [cell.strip() for cell in cells], reader.line_num
            if any(cells[len(columns) :]):
                raise FrfwError(
                    f"{path}, line {at}: {len(cells)} cells for {len(columns)} columns; "
                    "quote a cell that holds a comma"
                )
            if any(cells):
                padded = [*cells, *[""] * (len(columns) - len(cells))]
                rows.append((at, dict(zip(columns, padded))))
    except csv.Error as error:
        raise FrfwError(f"{path}, line {reader.line_num}: no readable CSV ({error})") from error
    return columns, rows
