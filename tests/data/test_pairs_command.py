"""pairs: published sets as they come, and their crops in a folder of their own."""

from __future__ import annotations

import json
import shutil

import pytest

from frfw.data import open_source
from frfw.data.align import align_source
from frfw.data.alignment import Alignment
from frfw.data.template import ARCFACE

BORDERS = {"edge": Alignment(border="edge").to_dict(), "black": Alignment().to_dict()}


def state(folder, border="edge"):
    entries = {"preprocessing": {"size": 32, "alignment": BORDERS[border]}}
    (folder / "manifest.json").write_text(json.dumps(entries))


def stated_of(pack):
    path = pack.parent / "manifest.json"
    packs = json.loads(path.read_text())["packs"] if path.is_file() else {}
    return packs.get(pack.name, {}).get("alignment")


@pytest.fixture
def published(make_folder, tmp_path):
    """Write a set in its own layout: published(layout) -> (its folder, its images, its pairs)."""
    faces = make_folder([2, 2], name="drawn")
    one, two = (sorted((faces / f"id00{i}").iterdir()) for i in (0, 1))

    def fill(folder, names):
        for name, image in zip(names, (*one, *two)):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, path)

    def make(layout):
        root = tmp_path / layout
        if layout == "lfw":
            images, pairs = root / "img", root / "pairs.txt"
            fill(images, [f"{n}/{n}_000{i}.jpg" for n in ("A_B", "C_D") for i in (1, 2)])
            pairs.write_text("1\t1\nA_B\t1\t2\nA_B\t1\tC_D\t1\n")
        elif layout in ("calfw", "cplfw"):
            images, pairs = root / "aligned images", root / f"pairs_{layout.upper()}.txt"
            fill(images, [f"{n}_000{i}.jpg" for n in ("A_B", "C_D") for i in (1, 2)])
            rows = ["A_B_0001.jpg 1", "A_B_0002.jpg 1", "A_B_0001.jpg 0", "C_D_0001.jpg 0"]
            pairs.write_text("\n".join(rows))
        elif layout == "agedb_30":
            images, pairs = root / "03_Protocol_Images", root / "agedb_30.csv"
            fill(images, [f"{i}_{n}_30_f.jpg" for n in ("A", "C") for i in (1, 2)])
            rows = ["03_Protocol_Images/1_A_30_f,03_Protocol_Images/2_A_30_f,1"]
            rows += ["03_Protocol_Images/1_A_30_f,03_Protocol_Images/1_C_30_f,0"]
            pairs.write_text("\n".join(["a,b,same", *rows]))
        else:
            images, pairs = root / "Data" / "Images", root
            names = [f"{n}/frontal/0{i}.jpg" for n in ("001", "002") for i in (1, 2)]
            fill(images, names)
            split = root / "Protocol" / "Split" / "FF" / "01"
            split.mkdir(parents=True)
            lines = [f"{at} ../Data/Images/{name}" for at, name in enumerate(names, 1)]
            (root / "Protocol" / "Pair_list_F.txt").write_text("\n".join(lines))
            (split / "same.txt").write_text("1,2")
            (split / "diff.txt").write_text("1,3")
        return root, images, pairs

    return make


SETS = ("lfw", "cfp_ff", "calfw", "cplfw", "agedb_30")


@pytest.mark.parametrize("layout", SETS)
@pytest.mark.parametrize("where", ["images", "above"])
def test_the_alignment_is_found_wherever_the_set_is_named(
    published, tmp_path, command, layout, where
):
    root, images, _ = published(layout)
    state(images)
    given = root if where == "above" or layout == "agedb_30" else images
    done = command("pairs", layout, given, tmp_path / "a.bin", "--size", "32")
    assert done.returncode == 0, done.stderr
    assert stated_of(tmp_path / "a.bin") == BORDERS["edge"]
    state(root, "black")  # further from the images
    done = command("pairs", layout, root, tmp_path / "b.bin", "--size", "32")
    assert stated_of(tmp_path / "b.bin") == BORDERS["edge"]
    (images / "manifest.json").unlink()
    done = command("pairs", layout, root, tmp_path / "c.bin", "--size", "32")
    assert stated_of(tmp_path / "c.bin") == BORDERS["black"]


def test_images_cropped_in_different_ways_state_nothing(published, tmp_path, command, caplog):
    root, images, _ = published("lfw")
    state(images / "A_B")
    assert command("pairs", "lfw", root, tmp_path / "a.bin", "--size", "32").returncode == 0
    assert stated_of(tmp_path / "a.bin") is None
    assert "cropped in different ways: nothing is stated" in caplog.text


def test_a_manifest_above_the_folder_given_says_nothing(published, tmp_path, command):
    root, images, _ = published("lfw")
    state(root)
    (tmp_path / "packs").mkdir()
    out = tmp_path / "packs" / "a.bin"
    line = ["pairs", "lfw", images, out, "--size", "32", "--protocol", root / "pairs.txt"]
    assert command(*line).returncode == 0
    assert stated_of(out) is None


@pytest.mark.parametrize(("layout", "part"), [("lfw", "img"), ("cfp_ff", "Data/Images")])
def test_crops_in_a_folder_of_their_own(published, tmp_path, command, layout, part):
    """As the guide has it: align, then pairs with the protocol of the set."""
    root, _, protocol = published(layout)
    source = open_source(root / part)
    marks = " ".join(f"{v:.2f}" for v in (ARCFACE * 32 / 112).reshape(-1))
    lines = [f"{source.path(i)} {marks}\n" for i in range(len(source))]
    (tmp_path / "m.txt").write_text("".join(lines))
    align_source(source, tmp_path / "crops", Alignment(), landmarks=tmp_path / "m.txt")
    out = tmp_path / "a.bin"
    done = command("pairs", layout, tmp_path / "crops", out, "--protocol", protocol)
    assert done.stdout == f"{out}: 2 pairs\n", done.stderr
    assert stated_of(out)["landmarks"] == "file"


def test_cfp_whose_protocol_is_elsewhere(published, tmp_path, command):
    """Its images in `Data/Images`, in `Images`, or at once; Protocol itself may be named too."""
    root, _, _ = published("cfp_ff")
    for at, place in enumerate(("x/Data/Images", "y/Images", "z")):
        shutil.copytree(root / "Data" / "Images", tmp_path / place)
        for layout, protocol in (("cfp_ff", root / "Protocol"), ("auto", root)):
            line = ["pairs", layout, tmp_path / place[0], tmp_path / f"{at}{layout}.bin"]
            done = command(*line, "--size", "32", "--protocol", protocol)
            if layout == "auto":  # takes it for the one of the two that has profiles
                assert "Pair_list_P.txt is missing" in done.stderr
            else:
                assert done.returncode == 0, done.stderr
    done = command("pairs", "cfp_ff", tmp_path / "z", tmp_path / "n.bin")
    assert "z has no Protocol" in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        "draw --protocol pairs.txt",
        "draw-agedb --protocol pairs.txt",
        "draw --skip-missing",
        "draw --gap 30",
        "lfw --gap 30",
        "lfw --seed 0",
        "cfp_fp --folds 5",
        "csv --pairs 6000",
    ],
)
def test_options_that_would_do_nothing_are_refused(tmp_path, command, line):
    layout, option, *value = line.split()
    done = command("pairs", layout, tmp_path, tmp_path / "a.bin", option, *value)
    assert done.returncode == 1
    assert f"error: {option} means nothing for `pairs {layout}`: leave it out" in done.stderr
