"""Lists, tar shards, mixtures and patches."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import tarfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frfw.data import BadImage, open_source
from frfw.data.decode import encode
from frfw.data.strings import StringColumn
from frfw.errors import FrfwError


def write_list(root, rows, name="list.csv"):
    table = pd.DataFrame(rows)
    path = root / name
    table.to_parquet(path) if name.endswith("parquet") else table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
def test_list(make_folder, name):
    root = make_folder([2, 2])
    rows = [
        {"path": "id001/000.jpg", "identity": "007", "group": "a"},
        {"path": "id000/001.jpg", "identity": "x", "group": "b"},
        {"path": "id001/001.jpg", "identity": "007", "group": "a"},
    ]
    dataset = open_source(write_list(root, rows, name))
    assert dataset.labels.tolist() == [0, 1, 0]
    assert dataset.identity_names == ["007", "x"]
    assert dataset.groups == ["a", "b", "a"]
    expected = open_source(root)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(dataset))[1], expected[1])


@pytest.mark.parametrize("kind", ["int64", "dictionary<string>", "large_string", "binary"])
def test_parquet_columns_of_many_types(make_folder, kind):
    """Identities are numbered in the order of their names as text, whatever their type."""
    root = make_folder([2, 2])
    given = pa.chunked_array([["10", "9"], ["10"]])
    if kind == "dictionary<string>":
        given = given.dictionary_encode()
    else:
        given = given.cast(kind)
    paths = pa.chunked_array([["id001/000.jpg"], ["id000/001.jpg", "id001/001.jpg"]])
    pq.write_table(pa.table({"path": paths, "identity": given}), root / "list.parquet")
    dataset = open_source(root / "list.parquet")
    assert dataset.identity_names == ["10", "9"]
    assert dataset.labels.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(dataset[1], open_source(root)[1])


def test_parquet_columns_that_are_no_text(make_folder):
    root = make_folder([2])
    paths = ["id000/000.jpg", "id000/001.jpg"]
    for identity in ([b"\xff", b"\xfe"], [["a"], ["b"]]):
        pq.write_table(pa.table({"path": paths, "identity": identity}), root / "list.parquet")
        with pytest.raises(FrfwError, match=r"list\.parquet cannot be read as a list of images"):
            open_source(root / "list.parquet")
    twice = pa.Table.from_arrays([pa.array(paths)] * 2 + [pa.array(["a", "b"])],
                                 names=["path", "path", "identity"])  # fmt: skip
    pq.write_table(twice, root / "list.parquet")
    with pytest.raises(FrfwError, match=r"list\.parquet has the column 'path' 2 times"):
        open_source(root / "list.parquet")


@pytest.mark.parametrize(
    ("identity", "names"),
    [
        (["b", "a", "b", "é"], ["a", "b", "é"]),
        ([3, 10, 3, 4], ["10", "3", "4"]),
        # A categorical may name identities that no row has.
        (pa.DictionaryArray.from_arrays([3, 1, 3, 2], ["w", "x", "y", "z"]), ["x", "y", "z"]),
        (pa.DictionaryArray.from_arrays([1, 0, 1, 0], [10, 9]), ["10", "9"]),
    ],
)
def test_parquet_identities_in_row_groups(tmp_path, identity, names):
    table = pa.table({"path": ["..a", "b..", "...", "d"], "identity": identity})
    pq.write_table(table, tmp_path / "list.parquet", row_group_size=2)
    dataset = open_source(tmp_path / "list.parquet")
    assert dataset.identity_names == names
    written = [str(value) for value in pa.array(identity).to_pylist()]
    assert [names[label] for label in dataset.labels] == written


@given(st.lists(st.lists(st.text(), max_size=4), max_size=4), st.integers(0, 3))
def test_strings_from_arrow_are_those_given(chunks, cut):
    column = pa.chunked_array(chunks, pa.large_string())[cut:]
    texts = [text for chunk in chunks for text in chunk][cut:]
    assert StringColumn.of_arrow(column) == texts
    assert StringColumn.of_arrow(column).data.tobytes() == "".join(texts).encode()


def test_list_with_landmarks(make_folder):
    root = make_folder([2])
    marks = {f"{a}{p}": p for p in range(1, 6) for a in "xy"}
    rows = [{"path": f"id000/00{i}.jpg", "identity": 1} | marks for i in (0, 1)]
    dataset = open_source(write_list(root, rows))
    assert dataset.landmarks.shape == (2, 5, 2)
    assert dataset.landmarks[0, 4].tolist() == [5, 5]
    del rows[0]["x3"], rows[1]["x3"]
    with pytest.raises(FrfwError, match="but not x3"):
        open_source(write_list(root, rows))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,identity\na,b\n", "no column 'path'"),
        ("path,identity\na.jpg,1\n../../b.jpg,2\n", "line 3.*leads out"),
        ("path,identity\na.jpg,\nb.jpg,2\n", "line 2: identity is empty"),
        ("path,identity\na.jpg,1\n", "lists 1 images"),
        ("", "cannot be read as a table"),
    ],
)
def test_bad_lists(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(FrfwError, match=message):
        open_source(tmp_path / "x.csv")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(FrfwError, match="cannot be read as a table"):
        open_source(tmp_path / "x.parquet")


def add(archive, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def image(value):
    return encode(np.full((8, 8, 3), value, np.uint8), ".png")


@pytest.fixture
def shards(tmp_path):
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        add(archive, "0001.png", image(30))
        add(archive, "0001.json", b'{"identity": "ann"}')
        add(archive, "0002.png", image(40))
        add(archive, "0002.cls", b"5\n")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "ann/1.png", image(10))
        add(archive, "../../bob/2.png", image(20))
        link = tarfile.TarInfo("cy/3.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return tmp_path


def test_tar_shards(shards):
    dataset = open_source({"path": shards, "size": 8})
    names = [dataset.identity_names[label] for label in dataset.labels]
    assert names == ["ann", "bob", "ann", "5"]  # the link is no image
    again = pickle.loads(pickle.dumps(dataset))
    assert [int(again[i].mean()) for i in range(4)] == [10, 20, 30, 40]
    assert "b.tar:0001.png" in dataset.locate(2)
    assert sorted(p.name for p in shards.iterdir()) == ["a.tar", "b.tar"]  # nothing unpacked
    assert len(open_source(shards / "b.tar")) == 2


def test_bad_tars(tmp_path):
    path = tmp_path / "x.tar"
    for data in (b"", b"hello" * 300):
        path.write_bytes(data)
        with pytest.raises(FrfwError, match=r"x\.tar"):
            open_source(path)
    with tarfile.open(path, "w") as archive:
        add(archive, "1.png", image(3))
    with pytest.raises(FrfwError, match="has no identity"):
        open_source(path)
    with tarfile.open(path, "w") as archive:
        add(archive, "1.png", image(3))
        add(archive, "1.json", b"[" * 100000)
    with pytest.raises(FrfwError, match="cannot be read"):
        open_source(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_tars_never_crash(shards, data):
    path = shards / "b.tar"
    whole = path.read_bytes()
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    try:
        with contextlib.suppress(FrfwError):
            dataset = open_source({"path": path, "size": 8})
            for number in range(len(dataset)):
                with contextlib.suppress(BadImage):
                    dataset[number]
    finally:
        path.write_bytes(whole)


def test_mixture(make_folder, make_records):
    faces, records = make_folder([2, 1]), make_records([1, 3])
    config = {"sources": [str(faces), {"path": records, "exclude": "0"}], "size": 32}
    mixed = open_source(config)
    assert mixed.labels.tolist() == [0, 0, 1, 2, 2, 2]
    assert mixed.num_classes == 3
    np.testing.assert_array_equal(mixed[3], open_source(records)[1])
    assert "record" in mixed.locate(5)
    twice = {"sources": [str(faces)] * 2}
    assert open_source(twice).num_classes == 4
    assert open_source(twice | {"merge": "name"}).labels.tolist() == [0, 0, 1] * 2
    with pytest.raises(FrfwError, match="apart or name"):
        open_source(twice | {"merge": "both"})


def test_mixing_differently_aligned_sets_is_refused(make_folder):
    one, two = make_folder([2]), make_folder([2], name="b")
    for root, template in ((one, "arcface"), (two, "other")):
        stated = {"preprocessing": {"size": 112, "alignment": {"template": template}}}
        (root / "manifest.json").write_text(json.dumps(stated))
    with pytest.raises(FrfwError, match="cropped in different ways"):
        open_source({"sources": [str(one), str(two)]})


def test_patch(make_folder, tmp_path):
    root = make_folder([2, 2, 2])
    mark = open_source(root).fingerprint
    head = "action,image,identity,into,fingerprint,reason\n"
    path = tmp_path / "patch.csv"
    path.write_text(
        head + f"drop_image,1,,,{mark},blurred\nmerge_identity,,id002,id000,{mark},same\n"
    )
    dataset = open_source({"path": root, "patch": str(path)})
    assert dataset.labels.tolist() == [0, 1, 1, 0, 0]
    assert list(dataset.identity_names) == ["id000", "id001"]
    for row, message in (
        (f"drop_image,9,,,{mark},", "no image number"),
        (f"drop_identity,,zz,,{mark},", "is no identity"),
        (f"shred,,,,{mark},", "none of"),
        ("drop_image,1,,,abc,", "another data set"),
    ):
        path.write_text(head + row + "\n")
        with pytest.raises(FrfwError, match=message):
            open_source({"path": root, "patch": str(path)})


@pytest.mark.parametrize("kind", ["list", "tar"])
def test_large_lists_and_shards_keep_a_mapped_index(kind, make_folder, tmp_path, monkeypatch):
    """The second opening parses nothing, and other processes map the same files."""
    folder = make_folder([3, 2])
    where = _as_list(folder) if kind == "list" else _as_tar(folder)
    plain = open_source(where)
    monkeypatch.setattr("frfw.data.index_cache.MIN_IMAGES", 1)
    open_source(where)
    parser = "list_file.open_table" if kind == "list" else "tar_shards._read_headers"
    monkeypatch.setattr(f"frfw.data.{parser}", None)  # would fail if it were called
    mapped = open_source(where)
    for dataset in (mapped, pickle.loads(pickle.dumps(mapped))):
        assert isinstance(dataset.labels, np.memmap)
        assert dataset.fingerprint == plain.fingerprint
        assert dataset.identity_names == plain.identity_names
        assert [dataset.locate(i) for i in range(5)] == [plain.locate(i) for i in range(5)]
        np.testing.assert_array_equal(dataset[4], plain[4])
    assert len(pickle.dumps(mapped)) < 2000
    os.utime(where, ns=(1, 1))
    monkeypatch.undo()
    assert not isinstance(open_source(where).labels, np.memmap)


def _as_list(folder):
    rows = [
        f"{p.relative_to(folder.parent)},{p.parent.name}" for p in sorted(folder.rglob("*.jpg"))
    ]
    path = folder.parent / "faces.csv"
    path.write_text("path,identity\n" + "\n".join(rows))
    return path


def _as_tar(folder):
    path = folder.parent / "faces.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(folder, "faces")
    return path


def test_an_identity_may_be_called_na(make_folder):
    root = make_folder([2, 2])
    rows = [{"path": f"id00{i}/00{k}.jpg", "identity": ("NA", "null")[i]}
            for i in (0, 1) for k in (0, 1)]  # fmt: skip
    assert open_source(write_list(root, rows)).identity_names == ["NA", "null"]


def test_images_that_are_one_sample_are_refused(make_folder):
    """Names of a sample end at the first dot: two images of one would lose one in silence."""
    root = make_folder([2, 2])
    for number in (0, 1):
        (root / "id000" / f"00{number}.jpg").rename(root / "id000" / f"face.{number}.jpg")
    with pytest.raises(FrfwError, match=r"face\.0\.jpg and .*face\.1\.jpg are one sample"):
        open_source(_as_tar(root))


def test_a_file_of_names_to_exclude_holds_for_mixtures(make_folder, tmp_path, caplog):
    faces, other = make_folder([2, 2]), make_folder([2, 2], name="other")
    listed = tmp_path / "out.txt"
    listed.write_text("id001\n")
    mixture = open_source({"sources": [str(faces), str(other)], "exclude": str(listed)})
    assert list(mixture.identity_names) == ["0/id000", "1/id000"]
    listed.write_text("somebody\n")
    open_source({"path": str(faces), "exclude": str(listed)})
    assert "none of the names in" in caplog.text


def test_an_empty_group_is_a_group(make_folder):
    root = make_folder([2, 1])
    (root / "l.csv").write_text(
        "path,identity,group\nid000/000.jpg,a,x\nid000/001.jpg,a,\nid001/000.jpg,b,y\n"
    )
    assert list(open_source(root / "l.csv").groups) == ["x", "", "y"]
