"""AgeDB's own protocol, on files made up in its layout."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from frfw.data.layouts import read_layout
from frfw.data.layouts.agedb import agedb_images, agedb_person
from frfw.errors import FrfwError


def agedb_protocol(path, folds):
    """Write a file laid out as AgeDB's protocol: folds of (name, name, 1 or -1)."""

    def struct(**fields):
        made = np.zeros((1, 1), [(name, "O") for name in fields])
        made[0, 0] = tuple(fields.values())
        return made

    splits = np.empty((len(folds), 1), object)
    for at, rows in enumerate(folds):
        cells = np.empty((2, len(rows)), object)
        for column, row in enumerate(rows):
            for end in (0, 1):
                cells[end, column] = struct(name=row[end], age=30.0)
        splits[at, 0] = struct(pairs=cells, labels=np.array([[row[2] for row in rows]], float))
    savemat(path, {"splits": splits})


AGEDB_FOLDS = [
    [("0_Ann_0_30_f", "0_Ann_1_60_f", 1), ("0_Ann_0_30_f", "1_BobHope_4_61_m", -1)],
    [("1_BobHope_4_61_m", "1_BobHope_2_31_m", 1), ("1_BobHope_2_31_m", "0_Ann_1_60_f", -1)],
]


@pytest.mark.parametrize("given", ["", "03_Protocol_Images"])
def test_agedb_in_its_own_layout(tmp_path, given):
    protocol = tmp_path / "04_FINAL_protocol_30_years.mat"
    agedb_protocol(protocol, AGEDB_FOLDS)
    (tmp_path / "03_Protocol_Images").mkdir()
    for name in {name for fold in AGEDB_FOLDS for row in fold for name in row[:2]}:
        (tmp_path / "03_Protocol_Images" / f"{name}.jpg").write_bytes(b"x")
    pairs = read_layout("auto", tmp_path / given)
    assert (pairs.name, pairs.fold.tolist()) == ("agedb_30", [0, 0, 1, 1])
    assert pairs.same.tolist() == [True, False, True, False]
    names = [[pairs.paths[i].stem for i in row] for row in pairs.pairs]
    assert names == [list(row[:2]) for fold in AGEDB_FOLDS for row in fold]
    named = read_layout("agedb_30", tmp_path / "03_Protocol_Images", protocol)
    assert named.paths == pairs.paths


def test_agedb_protocol_that_is_none(tmp_path):
    (tmp_path / "0_Ann_0_30_f.jpg").write_bytes(b"x")
    with pytest.raises(FrfwError, match=r"neither 04_FINAL.*from its authors.*draw-agedb"):
        read_layout("agedb_30", tmp_path)
    path = tmp_path / "x.mat"
    agedb_protocol(path, [[("0_Ann_0_30_f", "../../etc_0_30_f", 1)]])
    with pytest.raises(FrfwError, match="leads out of"):
        read_layout("agedb_30", tmp_path, path)
    agedb_protocol(path, [[("0_Ann_0_30_f", "0_Ann_0_30_f", 3)]])
    with pytest.raises(FrfwError, match=r"fold 1 has the label 3\.0"):
        read_layout("agedb_30", tmp_path, path)
    for content in ({"splits": np.arange(6.0)}, {"splits": "text"}, {"other": 1.0}):
        savemat(path, content)
        with pytest.raises(FrfwError, match="not AgeDB's protocol as published"):
            read_layout("agedb_30", tmp_path, path)
    path.write_bytes(b"MATLAB 7.3 MAT-file, but not really" * 10)
    with pytest.raises(FrfwError, match=r"x\.mat"):
        read_layout("agedb_30", tmp_path, path)
    with pytest.raises(FrfwError) as missing:
        read_layout("agedb_30", tmp_path, tmp_path / "none.mat")
    assert str(missing.value) == f"{tmp_path / 'none.mat'} is missing"


def test_agedb_names(tmp_path):
    for name in ("10_Bob_Hope_35_m.jpg", "11_Ann_9_f.jpg"):
        (tmp_path / name).write_bytes(b"x")
    found = agedb_images(tmp_path)
    assert [(n, a) for _, n, a in found] == [("Bob_Hope", 35), ("Ann", 9)]
    assert agedb_person("0_Bob_Hope_12_35_m") == "Bob_Hope"  # as the protocol's images are named
    (tmp_path / "hello.jpg").write_bytes(b"x")
    with pytest.raises(FrfwError, match="number_name_age_gender"):
        agedb_images(tmp_path)
