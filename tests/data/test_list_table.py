"""Lists are read in parts; errors count rows from the list's beginning."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from frfw.data import open_source
from frfw.data.list_file import LANDMARKS
from frfw.errors import FrfwError


def write(path, table):
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=3)
    else:
        rows = zip(*(table[name].to_pylist() for name in table.column_names))
        lines = [",".join("" if value is None else str(value) for value in row) for row in rows]
        path.write_text("\n".join([",".join(table.column_names), *lines]))
    return path


def faces(paths):
    identity = [f"p{number % 3}" for number in range(len(paths))]
    groups = ["g" * (number % 4) for number in range(len(paths))]
    table = pa.table({"path": paths, "identity": identity, "group": groups})
    for at, name in enumerate(LANDMARKS):
        table = table.append_column(name, [[at + number / 4 for number in range(len(paths))]])
    return table


@pytest.fixture
def small_parts(monkeypatch):
    """A few rows of Parquet and of CSV at a time."""
    from pyarrow import csv

    monkeypatch.setattr("frfw.data.list_table._ROWS", 2)
    options = csv.ReadOptions
    monkeypatch.setattr(csv, "ReadOptions", lambda **given: options(block_size=160, **given))


@pytest.mark.parametrize("name", ["list.parquet", "list.csv"])
@pytest.mark.parametrize("kept", [False, True])
def test_many_parts_are_one_list(tmp_path, monkeypatch, small_parts, name, kept):
    monkeypatch.setattr("frfw.data.index_cache.MIN_IMAGES", 1 if kept else 100)
    paths = [f"{'x' * number}/é{number}.jpg" for number in range(1, 12)]
    dataset = open_source(write(tmp_path / name, faces(paths)))
    assert isinstance(dataset.labels, np.memmap) == kept
    assert [dataset.locate(i) for i in range(11)] == [str(tmp_path / path) for path in paths]
    assert dataset.labels.tolist() == [number % 3 for number in range(11)]
    assert dataset.identity_names == ["p0", "p1", "p2"]
    assert dataset.groups == ["g" * (number % 4) for number in range(11)]
    expected = np.arange(10) + np.arange(11)[:, None] / 4
    np.testing.assert_array_equal(dataset.landmarks.reshape(11, 10), expected)


@pytest.mark.parametrize("name", ["list.parquet", "list.csv"])
@pytest.mark.parametrize(
    ("path", "message"), [("../y.jpg", "'../y.jpg' leads out of"), (None, "path is empty")]
)
def test_rows_are_counted_over_parts(tmp_path, small_parts, name, path, message):
    paths = [f"{number}.jpg" for number in range(11)]
    paths[8] = path
    with pytest.raises(FrfwError, match=f"row 9: {message}"):
        open_source(write(tmp_path / name, faces(paths)))


@pytest.mark.parametrize("blank", ["", " "])
def test_csv_with_and_without_blanks_is_the_same(tmp_path, blank):
    """pandas reads the one, Arrow the other."""
    text = 'path,_identity,_group\n_"a, b.jpg",_"x\ny",_NA\n\n_c.jpg,_null,_\n'
    (tmp_path / "list.csv").write_text(text.replace("_", blank), encoding="utf-8-sig")
    dataset = open_source(tmp_path / "list.csv")
    assert [dataset.locate(i) for i in (0, 1)] == [str(tmp_path / n) for n in ("a, b.jpg", "c.jpg")]
    assert dataset.identity_names == ["null", "x\ny"]
    assert dataset.labels.tolist() == [1, 0]
    assert dataset.groups == ["NA", ""]


def test_a_csv_line_of_another_length_is_named(tmp_path):
    (tmp_path / "list.csv").write_text("path,identity\na.jpg,1\nb.jpg\nc.jpg,2\n")
    with pytest.raises(FrfwError, match=r"list.csv cannot be read as a table: .*#3.*b\.jpg"):
        open_source(tmp_path / "list.csv")


def test_a_quotation_mark_that_is_never_closed(tmp_path):
    (tmp_path / "list.csv").write_text('path,identity\n"a.jpg,1\n' + "b.jpg,2\n" * 300_000)
    with pytest.raises(FrfwError, match=r"list.csv .* quotation mark .* not closed"):
        open_source(tmp_path / "list.csv")
