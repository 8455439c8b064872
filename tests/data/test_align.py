"""align: landmarks onto the template, and the statement of how."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from frfw.data import open_source
from frfw.data.align import align_source
from frfw.data.alignment import Alignment, similarity
from frfw.data.decode import encode
from frfw.data.landmarks import YuNet, read_landmarks
from frfw.data.pack import pack
from frfw.data.survey import survey
from frfw.data.survey_report import report_lines
from frfw.data.template import ARCFACE
from frfw.errors import FrfwError


def test_similarity_recovers_a_transform():
    angle, scale, shift = 0.4, 1.7, np.array([30.0, -12.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity(ARCFACE, ARCFACE @ turn.T + shift)
    np.testing.assert_allclose(matrix, np.hstack([turn, shift[:, None]]), atol=1e-9)


def test_align_moves_landmarks_onto_the_template(tmp_path, command):
    points = ARCFACE * 1.5 + 20
    picture = np.zeros((240, 240, 3), np.uint8)
    for x, y in points:
        cv2.circle(picture, (round(x), round(y)), 4, (255, 255, 255), -1)
    lines = []
    for person in ("a", "b"):
        (tmp_path / "in" / person).mkdir(parents=True)
        (tmp_path / "in" / person / "1.png").write_bytes(encode(picture, ".png"))
        numbers = " ".join(f"{v:.2f}" for v in points.reshape(-1))
        lines.append(f"{person}/1.png 0 {numbers}")
    (tmp_path / "marks.txt").write_text("\n".join(lines))
    done = command(
        "align", tmp_path / "in", tmp_path / "out", "--landmarks", tmp_path / "marks.txt"
    )
    assert done.returncode == 0, done.stderr
    crops = open_source(tmp_path / "out")
    for x, y in ARCFACE:
        assert crops[0][round(y), round(x)].mean() > 200
    stated = crops.preprocessing.alignment
    assert (stated["template"], stated["landmarks"]) == ("arcface", "file")
    pack(crops, tmp_path / "packed")
    assert open_source(tmp_path / "packed").preprocessing.alignment == stated


def test_alignment_record():
    assert Alignment().hash == Alignment().hash != Alignment(border="edge").hash
    assert Alignment(size=224).warp(np.zeros((50, 50, 3), np.uint8), ARCFACE).shape[0] == 224
    with pytest.raises(FrfwError, match="Did you mean 'linear'"):
        Alignment(interpolation="linaer")
    with pytest.raises(FrfwError, match="all in one place"):
        Alignment().warp(np.zeros((50, 50, 3), np.uint8), np.ones((5, 2)))
    with pytest.raises(FrfwError, match="not a finite number"):
        Alignment().warp(np.zeros((50, 50, 3), np.uint8), np.full((5, 2), np.nan))


def test_align_refusals(make_folder, tmp_path):
    source = open_source(make_folder([2]))
    with pytest.raises(FrfwError, match="align needs landmarks"):
        align_source(source, tmp_path / "out", Alignment())
    with pytest.raises(FrfwError, match="not empty"):
        align_source(source, tmp_path, Alignment())
    (tmp_path / "m.txt").write_text("a.jpg 1 2 3\n")
    with pytest.raises(FrfwError, match="line 1"):
        read_landmarks(tmp_path / "m.txt")
    with pytest.raises(FrfwError, match="YuNet's ONNX file"):
        YuNet(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    with pytest.raises(FrfwError, match="no YuNet model"):
        YuNet(tmp_path / "bad.onnx")


def test_align_takes_mixtures_and_selections(tmp_path, command):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        rows = []
        for i in range(2):
            (tmp_path / name / f"{i}.png").write_bytes(
                encode(np.full((112, 112, 3), 90, np.uint8), ".png")
            )
            points = ",".join(f"{v:.2f}" for v in ARCFACE.reshape(-1))
            rows.append(f"{i}.png,p{i},{points}")
        head = "path,identity," + ",".join(f"x{k},y{k}" for k in range(1, 6))
        (tmp_path / name / "list.csv").write_text("\n".join([head, *rows]) + "\n")
    lists = [tmp_path / name / "list.csv" for name in ("one", "two")]
    done = command("align", *lists, tmp_path / "out", "--exclude", "1/p1")
    assert done.returncode == 0, done.stderr
    assert "3 faces, 0 left out" in done.stdout


def test_a_stated_alignment_comes_before_the_mean_face(make_folder, tmp_path):
    root = make_folder([3, 3], size=112)
    assert any("hardly aligned" in w for w in survey(open_source(root)).warnings)
    stated = {"preprocessing": {"size": 112, "alignment": Alignment(landmarks="drawn").to_dict()}}
    (root / "manifest.json").write_text(json.dumps(stated))
    dataset = open_source(root)
    found = survey(dataset)
    assert not any("align" in w or "template" in w for w in found.warnings + found.geometry)
    assert any("the manifest states: template arcface" in r for r in report_lines(dataset, found))


def test_pairs_hand_the_alignment_on(make_folder, tmp_path, command):
    root = make_folder([4, 4, 4], size=112)
    stated = Alignment(landmarks="file", border="edge").to_dict()
    (root / "manifest.json").write_text(json.dumps({"preprocessing": {"alignment": stated}}))
    out = tmp_path / "packs" / "mine.bin"
    out.parent.mkdir()
    done = command("pairs", "draw", root, out, "--pairs", "4", "--folds", "1")
    assert done.returncode == 0, done.stderr
    packs = json.loads((out.parent / "manifest.json").read_text())["packs"]
    assert packs["mine.bin"]["alignment"] == stated


@pytest.fixture
def listed_faces(tmp_path):
    """A list of plain images with landmarks: listed_faces(["name", ...]) -> path."""

    def make(identities):
        points = ",".join(f"{v:.2f}" for v in ARCFACE.reshape(-1))
        head = "path,identity," + ",".join(f"x{k},y{k}" for k in range(1, 6))
        rows = [head]
        for at, identity in enumerate(identities):
            image = np.full((112, 112, 3), 60 + 10 * at, np.uint8)
            (tmp_path / f"{at}.png").write_bytes(encode(image, ".png"))
            rows.append(f"{at}.png,{identity},{points}")
        (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
        return tmp_path / "list.csv"

    return make


def test_identities_never_share_a_folder(listed_faces, tmp_path):
    """Also those whose names differ only in what a folder's name cannot hold."""
    names = ["a/b", "a:b", "a_b", "..", ".", "a" * 300 + "x", "a" * 300 + "y", "A/B"]
    names += ["\u6f22" * 100 + "x", "\u6f22" * 100 + "y"]  # 300 bytes, and a name has 255 at most
    names += ["manifest.json", "align.partial", ".writing.lock"]  # align writes these itself
    result = align_source(open_source(listed_faces(names)), tmp_path / "out", Alignment())
    assert result.written == len(names)
    crops = open_source(tmp_path / "out")
    assert crops.num_classes == len(names)
    assert {"A_B", "a_b~2", "a_b~3", "a_b~4", "_", "_~2"} < set(crops.identity_names)
    assert {"\u6f22" * 66, "\u6f22" * 66 + "~2"} < set(crops.identity_names)
    assert {"manifest.json~2", "align.partial~2", "writing.lock"} < set(crops.identity_names)
    levels = sorted(int(crops[i].mean().round()) for i in range(len(names)))
    assert levels == [60 + 10 * i for i in range(len(names))]


def test_an_interrupted_alignment_is_no_data_set_and_goes_on(listed_faces, tmp_path):
    source = open_source(listed_faces(["p", "p", "q", "q"]))
    (tmp_path / "1.png").write_bytes(b"broken")

    def interrupt(done):
        if done == 3:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        align_source(source, out, Alignment(), progress=interrupt)
    with pytest.raises(FrfwError, match="unfinished alignment: run its `align` command again"):
        open_source(out)
    with pytest.raises(FrfwError, match="with other settings: repeat that command"):
        align_source(source, out, Alignment(border="edge"))
    first = {path: path.stat().st_mtime_ns for path in out.rglob("*.jpg")}
    result = align_source(source, out, Alignment())
    assert (result.written, len(result.left_out)) == (3, 1)
    whole = align_source(source, tmp_path / "whole", Alignment())
    assert result == whole
    assert all(path.stat().st_mtime_ns == made for path, made in first.items())
    files = sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file())
    assert files == sorted(
        p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*") if p.is_file()
    )
    assert len(open_source(out)) == 3


def test_crops_keep_the_names_that_protocols_ask_for(make_folder, tmp_path):
    """LFW's, CFP's and AgeDB's pair lists name files, so crops must be found under these names."""
    root = make_folder([2])
    (root / "id000" / "frontal").mkdir()
    (root / "id000" / "000.png").write_bytes((root / "id000" / "000.jpg").read_bytes())
    (root / "id000" / "000.jpg").rename(root / "id000" / "frontal" / "000.jpg")
    (root / "id000" / "001.png").write_bytes((root / "id000" / "001.jpg").read_bytes())
    marks = " ".join(f"{v:.2f}" for v in (ARCFACE * 32 / 112).reshape(-1))
    source = open_source(root)
    (tmp_path / "m.txt").write_text("".join(f"{source.path(i)} {marks}\n" for i in range(4)))
    align_source(source, tmp_path / "out", Alignment(), landmarks=tmp_path / "m.txt")
    found = sorted(str(p.relative_to(tmp_path / "out")) for p in tmp_path.glob("out/*/**/*.jpg"))
    assert found == [
        "id000/000.jpg",
        "id000/001.jpg",
        "id000/001~00000002.jpg",
        "id000/frontal/000.jpg",
    ]


def test_crops_keep_names_as_long_as_a_file_system_takes(tmp_path):
    for suffix in (".jpg", ".png"):  # the second one needs another name as well
        path = tmp_path / "in" / "a" / ("n" * 251 + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(np.full((112, 112, 3), 90, np.uint8), suffix))
    source = open_source(tmp_path / "in")
    marks = " ".join(f"{v:.2f}" for v in ARCFACE.reshape(-1))
    (tmp_path / "m.txt").write_text("".join(f"{source.path(i)} {marks}\n" for i in range(2)))
    result = align_source(source, tmp_path / "out", Alignment(), landmarks=tmp_path / "m.txt")
    assert result.written == 2
    assert (tmp_path / "out" / "a" / ("n" * 251 + ".jpg")).is_file()


@pytest.mark.parametrize("inner", ["", "out", "id000/out"])
def test_crops_do_not_go_into_their_source(make_folder, tmp_path, inner):
    root = make_folder([2, 2])
    (tmp_path / "m.txt").write_text("a.jpg 1 2 3 4 5 6 7 8 9 10\n")
    with pytest.raises(FrfwError, match=r"is the source .*: give a folder outside of it"):
        align_source(
            open_source({"sources": [make_folder([2], name="other"), root]}),
            *(root / inner, Alignment(), tmp_path / "m.txt"),
        )
    assert {path.name for path in root.iterdir()} == {"id000", "id001"}


def test_two_alignments_do_not_write_one_folder(listed_faces, tmp_path):
    source = open_source(listed_faces(["p", "q"]))

    def second(done):
        with pytest.raises(FrfwError, match="another align is writing to"):
            align_source(source, tmp_path / "out", Alignment())

    assert align_source(source, tmp_path / "out", Alignment(), progress=second).written == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"manifest.json", "p", "q"}


OUTSIDE = {
    "another image": ARCFACE + 5000,
    "to the left": ARCFACE - (60, 0),
    "below": ARCFACE + (0, 60),
    "another unit": ARCFACE * 1e30,
    "beyond all numbers": ARCFACE * 1e300,
}


@pytest.mark.parametrize("points", OUTSIDE.values(), ids=OUTSIDE)
@pytest.mark.parametrize("border", ["black", "edge"])
def test_landmarks_outside_of_the_image_give_no_crop(listed_faces, tmp_path, points, border):
    source = open_source(listed_faces(["p", "q"]))
    marks = [" ".join(f"{v:.8g}" for v in p.reshape(-1)) for p in (ARCFACE, points)]
    (tmp_path / "m.txt").write_text("".join(f"{i}.png {m}\n" for i, m in enumerate(marks)))
    result = align_source(
        source, tmp_path / "out", Alignment(border=border), landmarks=tmp_path / "m.txt"
    )
    assert result.written == 1
    (place, reason) = result.left_out[0]
    assert place.endswith("1.png")
    assert "are not in the image of 112x112: more than half of the crop would be border" in reason


def test_a_face_at_the_border_is_kept(listed_faces, tmp_path):
    """Also where a part of it lies outside, as long as its middle is in the picture."""
    source = open_source(listed_faces(["p", "q", "r", "s"]))
    places = [(-50, 0), (50, 0), (0, 50), (-25, -25)]
    marks = [" ".join(f"{v:.2f}" for v in (ARCFACE + place).reshape(-1)) for place in places]
    (tmp_path / "m.txt").write_text("".join(f"{i}.png {m}\n" for i, m in enumerate(marks)))
    result = align_source(source, tmp_path / "out", Alignment(), landmarks=tmp_path / "m.txt")
    assert result.left_out == []


def test_how_much_of_a_crop_shows_the_image():
    assert Alignment().shown(112, 112, ARCFACE) == 1
    assert Alignment(size=224).shown(250, 250, ARCFACE * 0.6 + 80) == 1
    assert Alignment().shown(112, 56, ARCFACE) == 0.5
    assert Alignment().shown(28, 112, ARCFACE) == 0.25
