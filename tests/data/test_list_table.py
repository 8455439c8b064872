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
    where = "row 9" if name == "list.parquet" else "line 10"
    with pytest.raises(FrfwError, match=f"{where}: {message}"):
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
    with pytest.raises(FrfwError, match=r"list.csv cannot be read as a table: .*line 3: .*b\.jpg"):
        open_source(tmp_path / "list.csv")


def test_utf_16_is_said(tmp_path):
    (tmp_path / "list.csv").write_text("path,identity\na.jpg,1\n", encoding="utf-16")
    with pytest.raises(
        FrfwError, match=r"list.csv cannot be read as a table: it is UTF-16.* UTF-8"
    ):
        open_source(tmp_path / "list.csv")


def test_a_quotation_mark_that_is_never_closed(tmp_path):
    (tmp_path / "list.csv").write_text('path,identity\n"a.jpg,1\n' + "b.jpg,2\n" * 300_000)
    with pytest.raises(FrfwError, match=r"list.csv .* quotation mark .* not closed"):
        open_source(tmp_path / "list.csv")


@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("c.jpg,,g", "identity is empty"),
        (",b,g", "path is empty"),
        ("../c.jpg,b,g", "'../c.jpg' leads out"),
        ('c.jpg," ",g', "identity is empty"),
    ],
)
def test_lines_are_those_of_the_file(tmp_path, blank, row, message):
    """Blank lines and values of two lines count; pandas reads the one list, Arrow the other."""
    text = f'path,identity,group\na.jpg,{blank}"x\ny",g\n\nb.jpg,x,\n{row}\nd.jpg,b,g\n'
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(FrfwError, match=rf"list\.csv, line 6: {message}"):
        open_source(tmp_path / "list.csv")


@pytest.mark.parametrize("bad", ["b.jpg", "b.jpg,x,y", "b.jpg,\xff"])
def test_lines_that_cannot_be_read(tmp_path, bad):
    text = f'path,identity\na.jpg,"x\ny"\n\n{bad}\nd.jpg,b\n'
    (tmp_path / "list.csv").write_text(text, encoding="latin-1")
    with pytest.raises(FrfwError, match=r"list\.csv cannot be read as a table: .*line 5: "):
        open_source(tmp_path / "list.csv")


def test_lines_longer_than_the_first_one(tmp_path):
    """pandas takes their first column for the names of the rows."""
    (tmp_path / "list.csv").write_text("path,identity\na.jpg, x, 1\nb.jpg, y, 2\n")
    with pytest.raises(FrfwError, match=r"list\.csv .* more columns than the first"):
        open_source(tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("name", "blank"), [("list.parquet", ""), ("list.csv", ""), ("list.csv", " ")]
)
def test_a_landmark_that_is_no_number(tmp_path, small_parts, name, blank):
    table = faces([f"{number}.jpg" for number in range(11)])
    marks = [str(number) + blank for number in range(11)]
    marks[8] = "left"
    table = table.set_column(table.column_names.index("y2"), "y2", [marks])
    where = "row 9" if name == "list.parquet" else "line 10"
    with pytest.raises(FrfwError, match=f"{where}: y2 'left' is no number"):
        open_source(write(tmp_path / name, table))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path;identity\na.jpg;1\n", "only 'path;identity': .* separated by commas"),
        ("path\tidentity\na.jpg\t1\n", "only .*: columns must be separated by commas"),
        ("a.jpg,1\nb.jpg,2\n", "only 'a.jpg, 1'. The first line names the columns"),
        ("Path,identity\na.jpg,1\n", "only 'Path, identity'. Did you mean 'Path'"),
        ("path,identity,identity\na.jpg,1,2\n", "the column 'identity' 2 times"),
        ("path, identity, identity\na.jpg,1,2\n", "the column 'identity' 2 times"),
        ("path,identity,group,group\na.jpg,1,2,3\n", "the column 'group' 2 times"),
    ],
)
def test_first_lines_that_name_no_columns(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(FrfwError, match=r"list\.csv has " + f".*{message}"):
        open_source(tmp_path / "list.csv")


@pytest.mark.parametrize("blanks", [("a ", "a"), (" a", "a"), ("a\t", " a "), ('" a "', "a")])
def test_blanks_around_a_name_make_no_other_person(tmp_path, blanks):
    for name in ("list.csv", "list.parquet"):
        if name == "list.csv":
            rows = zip(("1.jpg", "2.jpg", "3.jpg"), (*blanks, "b"))
            text = "\n".join(["path ,identity ", *(",".join(row) for row in rows)])
            (tmp_path / name).write_text(text)
        else:
            people = [value.strip('"') for value in (*blanks, "b")]
            table = pa.table({"path": ["1.jpg", "2.jpg", "3.jpg"], "identity": people})
            pq.write_table(table, tmp_path / name)
        dataset = open_source(tmp_path / name)
        assert dataset.labels.tolist() == [0, 0, 1]
        assert dataset.identity_names == ["a", "b"]


def test_a_parquet_identity_of_blanks(tmp_path):
    table = pa.table({"path": ["1.jpg", "2.jpg", "3.jpg"], "identity": ["a", "b", "  "]})
    pq.write_table(table, tmp_path / "list.parquet")
    with pytest.raises(FrfwError, match="row 3: identity is empty"):
        open_source(tmp_path / "list.parquet")
