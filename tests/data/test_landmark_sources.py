"""Which landmarks an image gets: its line in a file, a detector's, or the columns of its list."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest

from frfw.data import landmark_sources, open_source
from frfw.data.decode import BadImage
from frfw.data.landmark_sources import choose_landmarks
from frfw.data.landmarks import read_landmarks
from frfw.errors import FrfwError

NUMBERS = " ".join(str(i) for i in range(10, 20))
COLUMNS = [f"{axis}{point}" for point in range(1, 6) for axis in "xy"]


def first_x(find, index):
    return find(index, np.zeros((8, 8, 3), np.uint8))[0, 0]


@pytest.fixture
def listed(make_folder):
    """A list of two images, x1 of image i being 100 + i: listed(name, columns) -> path.

    columns: "filled", "empty" (no landmark is stated) or "none" (there are no such columns).
    """

    def make(name, columns="filled"):
        root = make_folder([2], name=name)
        rows = [["path", "identity", *COLUMNS]]
        for at in range(2):
            cells = [str(100 + at), *"123456789"] if columns == "filled" else [""] * 10
            rows.append([f"id000/{at:03d}.jpg", "p", *cells])
        width = 2 if columns == "none" else 12
        path = root / "list.csv"
        path.write_text("".join(",".join(row[:width]) + "\n" for row in rows))
        return path

    return make


@pytest.fixture
def detector(monkeypatch):
    monkeypatch.setattr(landmark_sources, "YuNet", lambda path: lambda _: np.full((5, 2), 7.0))


def test_what_is_given_comes_before_a_lists_columns(listed, tmp_path, detector):
    source = open_source(listed("a"))
    find, name = choose_landmarks(source)
    assert (first_x(find, 1), name) == (101, "list")
    find, name = choose_landmarks(source, detector="yunet.onnx")
    assert (first_x(find, 1), name) == (7, "yunet")
    (tmp_path / "m.txt").write_text(f"id000/001.jpg {NUMBERS}\n")
    find, name = choose_landmarks(source, tmp_path / "m.txt")
    assert (first_x(find, 1), name) == (10, "file")
    with pytest.raises(FrfwError, match="give one of the two"):
        choose_landmarks(source, tmp_path / "m.txt", "yunet.onnx")


def test_every_image_of_a_mixture_has_its_own(listed, make_folder):
    """Whatever the first one is: a folder, a list without the columns, or with empty ones."""
    parts = [make_folder([2]), listed("b", "none"), listed("c", "empty"), listed("d")]
    for order in (parts, parts[::-1]):
        source = open_source({"sources": order})
        find, name = choose_landmarks(source)
        assert name == "list"
        found = []
        for index in range(8):
            try:
                found.append(first_x(find, index))
            except BadImage as error:
                assert "its own list states none" in str(error)
        assert found == [100, 101]
    with pytest.raises(FrfwError, match="align needs landmarks"):
        choose_landmarks(open_source({"sources": parts[:2]}))


@pytest.mark.parametrize("option", ["--landmarks", "--detector"])
@pytest.mark.parametrize("name", ["none.onnx", "none.txt", "none.csv"])
def test_a_missing_file_is_said(listed, tmp_path, command, option, name):
    done = command("align", listed("a"), tmp_path / "out", option, tmp_path / name)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: {tmp_path / name} is missing" in done.stderr
    assert "Errno" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (f"a/1.jpg {NUMBERS}", "a/1.jpg"),
        (f"./a/1.jpg {NUMBERS}", "a/1.jpg"),
        (f"a\\1.jpg\t7\t{NUMBERS}", "a/1.jpg"),
        (f"a/1.jpg 7 {NUMBERS}", "a/1.jpg"),
        (f"my dir/1.jpg {NUMBERS}", "my dir/1.jpg"),
        (f"my dir/1.jpg 7 {NUMBERS}", "my dir/1.jpg"),
        (f"my dir/1.jpg\t-1.5\t{NUMBERS}", "my dir/1.jpg"),
        (f"my 2 dirs/1  2.png {NUMBERS}", "my 2 dirs/1  2.png"),
        (f"John 3/1.jpg {NUMBERS}  ", "John 3/1.jpg"),
        (f"room 12 {NUMBERS}", "room 12"),
        (f"17 {NUMBERS}", "17"),
        (f"17 3 {NUMBERS}", "17"),
    ],
)
def test_paths_of_text_lines(tmp_path, line, path):
    (tmp_path / "m.txt").write_text(line + "\n")
    found = read_landmarks(tmp_path / "m.txt")
    assert list(found) == [path]
    assert found[path].reshape(-1).tolist() == list(range(10, 20))


@pytest.mark.parametrize("line", [NUMBERS, f"a.jpg x {NUMBERS[3:]}", f"a.jpg nan {NUMBERS[3:]}"])
def test_lines_that_are_none(tmp_path, line):
    (tmp_path / "m.txt").write_text(f"b.jpg {NUMBERS}\n{line}\n")
    with pytest.raises(FrfwError, match="line 2: it should say `path x1 y1"):
        read_landmarks(tmp_path / "m.txt")


def test_an_image_that_the_file_lacks_is_said_with_its_name_there(make_folder, tmp_path, command):
    (tmp_path / "m.txt").write_text(f"faces/id000/000.jpg {NUMBERS}\n")
    done = command("align", make_folder([2]), tmp_path / "out", "--landmarks", tmp_path / "m.txt")
    assert done.returncode == 1
    assert (
        f"no image of faces could be aligned: no landmarks for it: {tmp_path / 'm.txt'} has no "
        f"'id000/000.jpg' (it has 'faces/id000/000.jpg', ...)"
    ) in done.stderr


def test_names_in_tar_shards(make_folder, tmp_path):
    root = make_folder([2, 1])
    for shard, folder in (("s0", "id000"), ("s1", "id001")):
        (tmp_path / "shards").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / "shards" / f"{shard}.tar", "w") as archive:
            for path in sorted((root / folder).iterdir()):
                member = tarfile.TarInfo(f"./{folder}/{path.name}")
                member.size = path.stat().st_size
                archive.addfile(member, io.BytesIO(path.read_bytes()))
    names = ["id000/000.jpg", "id000/001.jpg", "id001/000.jpg"]
    lines = [f"{name} 0 {at} {NUMBERS[3:]}\n" for at, name in enumerate(names)]
    (tmp_path / "m.txt").write_text("".join(lines))
    find, _ = choose_landmarks(open_source(tmp_path / "shards"), tmp_path / "m.txt")
    assert [first_x(find, index) for index in range(3)] == [0, 1, 2]


def test_record_numbers_of_recordio(make_records, tmp_path):
    (tmp_path / "m.txt").write_text("".join(f"{key} 9 {key} {NUMBERS[3:]}\n" for key in (3, 1)))
    find, _ = choose_landmarks(open_source(make_records([2, 1])), tmp_path / "m.txt")
    assert [first_x(find, index) for index in (0, 2)] == [1, 3]
    with pytest.raises(BadImage, match=r"m\.txt has no '2' \(it has '3', \.\.\.\)"):
        first_x(find, 1)
