"""pairs: protocols drawn from a set, and bad images in one."""

from __future__ import annotations

import numpy as np
import pytest

from frfw.data import open_source, read_pack
from frfw.data.decode import encode
from frfw.data.pair_sets import draw_agedb, draw_pairs, write_drawn, write_pair_list
from frfw.errors import FrfwError


def test_drawn_pairs_are_balanced_and_folds_disjoint():
    labels = np.repeat(np.arange(40), 5)
    drawn = draw_pairs(labels, 200, 10, seed=3)
    people = labels[drawn.pairs]
    assert ((people[:, 0] == people[:, 1]) == drawn.same).all()
    assert np.bincount(drawn.fold, drawn.same).tolist() == [10] * 10
    folds = [set(people[drawn.fold == f].reshape(-1)) for f in range(10)]
    assert sum(map(len, folds)) == len(set.union(*folds))
    assert len({tuple(p) for p in drawn.pairs.tolist()}) == 200
    np.testing.assert_array_equal(drawn.pairs, draw_pairs(labels, 200, 10, seed=3).pairs)
    with pytest.raises(FrfwError, match="gives only"):
        draw_pairs(labels, 20000, 10)
    with pytest.raises(FrfwError, match="do not divide"):
        draw_pairs(labels, 30, 10)


def test_pairs_commands(make_folder, tmp_path, command):
    root = make_folder([4] * 8)
    out = tmp_path / "x.bin"
    done = command("pairs", "draw", root, out, "--pairs", 40, "--folds", 2, "--size", 32)
    assert done.returncode == 0, done.stderr
    made = read_pack(out)
    assert (len(made.images), int(made.same.sum())) == (80, 20)
    assert made.images[0] in {p.read_bytes() for p in root.glob("*/*.jpg")}  # bytes kept
    assert "exists" in command("pairs", "draw", root, out).stderr
    assert "ends in .bin" in command("pairs", "draw", root, tmp_path / "x").stderr


def test_agedb_pairs_keep_their_gap(tmp_path):
    for person in range(6):
        for age in (10, 25, 45, 60):
            name = f"{person}_p{person}_{age}_f.png"
            (tmp_path / name).write_bytes(encode(np.full((16, 16, 3), age, np.uint8), ".png"))
    drawn = draw_agedb(tmp_path, 12, 30, folds=2)
    ages = np.array([int(p.stem.split("_")[2]) for p in drawn.paths])[drawn.pairs]
    assert (np.abs(ages[:, 0] - ages[:, 1]) >= 30).all()
    assert write_pair_list(drawn, tmp_path / "agedb_30.bin", 16) == 12


def test_bad_images_are_not_drawn(make_folder, tmp_path, caplog):
    root = make_folder([6] * 4)
    for path in root.glob("*/00[01].jpg"):
        path.write_bytes(b"no image")
    assert write_drawn(open_source(root), tmp_path / "x.bin", 16, 2) == 16
    assert "left out: " in caplog.text
    packed = read_pack(tmp_path / "x.bin")
    assert all(image != b"no image" for image in packed.images)
    assert sum(packed.same) == 8
    for path in root.glob("*/00[23].jpg"):
        path.write_bytes(b"no image")
    with pytest.raises(FrfwError, match="gives only"):  # too few good ones are left
        write_drawn(open_source(root), tmp_path / "y.bin", 16, 2)
    assert not (tmp_path / "y.bin").exists()


def test_pairs_without_the_missing_images(make_folder, tmp_path, command):
    """A `.bin` of what is left, with a word on its folds; never without being asked."""
    root = make_folder([4] * 4)
    rows = [f"id00{p}/00{i}.jpg,id00{p}/00{i + 1}.jpg,1" for p in range(4) for i in range(3)]
    rows += [f"id00{p}/00{i}.jpg,id00{(p + 1) % 4}/000.jpg,0" for p in range(4) for i in range(3)]
    table = [f"{row},{at // 6}" for at, row in enumerate(rows)]
    (root / "own.csv").write_text("\n".join(["a,b,same,fold", *table]) + "\n")
    (root / "id000" / "003.jpg").unlink()
    arguments = ("pairs", "csv", root / "own.csv", tmp_path / "own.bin", "--size", 32)
    refused = command(*arguments)
    assert refused.returncode == 1
    assert "003.jpg; --skip-missing" in refused.stderr
    done = command(*arguments, "--skip-missing")
    assert done.stdout.endswith("own.bin: 23 pairs, 1 left out\n"), done.stderr
    assert len(read_pack(tmp_path / "own.bin").same) == 23
