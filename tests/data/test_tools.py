"""inspect, pack, align, pairs, clean, bench: what they find, write and refuse."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from frfw.command import run
from frfw.data import open_source, read_pack
from frfw.data.__main__ import main
from frfw.data.align import align_source
from frfw.data.alignment import Alignment, similarity
from frfw.data.bench import bench, table
from frfw.data.clean import embed_dataset, find_faults, write_patch
from frfw.data.decode import encode
from frfw.data.duplicates import near_duplicates, perceptual_hash, small_picture
from frfw.data.landmarks import YuNet, read_landmarks
from frfw.data.pack import pack
from frfw.data.pair_sets import draw_agedb, draw_pairs, write_drawn, write_pair_list
from frfw.data.survey import quick_check, survey
from frfw.data.survey_report import draw_picture, report_lines
from frfw.data.template import ARCFACE, face_offsets
from frfw.errors import FrfwError


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `python -m frfw.data ...` in this process: starting Python takes longer than the tool."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["frfw.data", *map(str, arguments)])
        status = 0
        try:
            run(main)
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, status, out, err)

    return call


# pack


def test_pack_copies_the_bytes(make_folder, tmp_path):
    source = open_source({"path": make_folder([3, 1, 2]), "size": 32})
    result = pack(source, tmp_path / "out")
    packed = open_source(tmp_path / "out")
    assert (result.images, result.identities, result.bad) == (6, 3, [])
    assert [packed.read(i) for i in range(6)] == [source.read(i) for i in range(6)]
    assert packed.identity_names == list(source.identity_names)
    assert not list((tmp_path / "out").glob("*.partial"))


def test_pack_leaves_bad_images_and_their_identities_out(make_folder, tmp_path):
    root = make_folder([2, 1, 2])
    for name in ("id000/000.jpg", "id001/000.jpg"):
        (root / name).write_bytes(b"\xff\xd8\xff broken")
    result = pack(open_source(root), tmp_path / "out")
    assert (result.images, result.identities, len(result.bad)) == (3, 2, 2)
    assert open_source(tmp_path / "out").identity_names == ["id000", "id002"]


@pytest.mark.parametrize("stop", [1, 3, 7])
@pytest.mark.parametrize("torn", [0, 5])
def test_interrupted_pack_goes_on(make_folder, tmp_path, stop, torn):
    """Also where the last bytes never reached the disk; the result is as if never interrupted."""
    source = open_source({"path": make_folder([3, 4, 2]), "size": 32})
    pack(source, tmp_path / "whole")

    def interrupt(done):
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(source, tmp_path / "out", progress=interrupt)
    with pytest.raises(FrfwError, match="unfinished"):
        open_source(tmp_path / "out")
    rec = tmp_path / "out" / "train.rec.partial"
    rec.write_bytes(rec.read_bytes()[: max(0, rec.stat().st_size - torn)])
    steps = []
    pack(source, tmp_path / "out", progress=steps.append)
    assert steps[0] == (stop + 1 if not torn else stop)
    for name in ("train.rec", "train.idx", "property", "manifest.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_pack_resizes_when_asked_and_refuses_to_overwrite(make_folder, tmp_path, command):
    root = make_folder([2, 2], size=40)
    done = command("pack", root, tmp_path / "out", "--size", "24")
    assert done.returncode == 0, done.stderr
    assert open_source(tmp_path / "out")[0].shape == (24, 24, 3)
    again = command("pack", root, tmp_path / "out")
    assert again.returncode == 1
    assert again.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "already holds a train.rec" in again.stderr


# inspect


def test_survey_finds_what_is_wrong(make_folder):
    root = make_folder([6, 5, 1], size=112)
    (root / "id001" / "copy.jpg").write_bytes((root / "id000" / "002.jpg").read_bytes())
    (root / "id001" / "bad.jpg").write_bytes(b"\xff\xd8")
    found = survey(open_source(root))
    assert (found.images, found.identities, len(found.bad)) == (14, 3, 1)
    assert len(found.exact) == 1
    assert len(found.mixed) == 1
    text = " ".join(found.problems)
    assert "unreadable" in text
    assert "different identities" in text
    assert "red and blue look swapped" in text  # the drawn images are bluish
    assert any("one image only" in w for w in found.warnings)


def test_inspect_command(make_folder, tmp_path, command):
    root = make_folder([3, 3], size=112)
    for path in root.glob("*/*.jpg"):
        value = 100 + int(path.stem) * 20
        face = np.zeros((112, 112, 3), np.uint8) + np.array([value + 40, value, value - 30], "u1")
        noise = np.random.default_rng(value + len(path.parent.name)).integers(-20, 20, face.shape)
        path.write_bytes(encode(np.clip(face + noise, 0, 255).astype(np.uint8)))
    done = command("inspect", root, "--picture", tmp_path / "p.png")
    assert "6 images of 2 identities" in done.stdout, done.stderr
    assert cv2.imread(str(tmp_path / "p.png")) is not None
    for number in range(3):
        (root / "id000" / f"{number:03d}.jpg").write_bytes(b"")
    done = command("inspect", root, "--picture", tmp_path / "p.png")
    assert done.returncode == 1
    assert "would spoil a run: 3 of 6 images are unreadable" in done.stderr
    assert "Traceback" not in done.stderr


def test_report_and_picture(make_folder, tmp_path):
    dataset = open_source(make_folder([3, 2], size=112))
    found = quick_check(dataset, 4)
    assert found.looked_at == 4
    assert "5 images of 2 identities" in report_lines(dataset, found)[0]
    draw_picture(dataset, found, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


def test_near_duplicates_are_copies_not_lookalikes():
    rng = np.random.default_rng(0)
    images = [cv2.GaussianBlur(rng.integers(0, 256, (112, 112), "u1"), (0, 0), 9) for _ in "abcdef"]
    images = [cv2.normalize(i, None, 0, 255, cv2.NORM_MINMAX) for i in images]
    data = cv2.imencode(".jpg", images[2], [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    images.append(cv2.imdecode(data, 0))
    hashes = np.array([perceptual_hash(i) for i in images], np.uint64)
    assert near_duplicates(hashes, np.stack([small_picture(i) for i in images])) == [[2, 6]]


@pytest.mark.parametrize("shift", [(0, 0), (3, -4), (-5, 6)])
def test_alignment_estimate(shift):
    face = np.full((112, 112, 3), 170, np.float32)
    for x, y in ARCFACE[:2]:
        cv2.circle(face, (round(x + shift[0]), round(y + shift[1])), 5, (60, 60, 60), -1)
    left, right = ARCFACE[3] + shift, ARCFACE[4] + shift
    start, end = (tuple(np.rint(p).astype(int).tolist()) for p in (left, right))
    cv2.line(face, start, end, (90, 60, 60), 4)
    offsets, contrast = face_offsets(face)
    assert contrast > 20
    for eye in ("left eye", "right eye"):
        np.testing.assert_allclose(offsets[eye], shift, atol=1.5)
    assert abs(offsets["mouth"][1] - shift[1]) < 2


# align


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


# pairs


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


def test_bad_image_in_a_protocol(make_folder, tmp_path):
    root = make_folder([4] * 4)
    for path in root.glob("*/00[01].jpg"):
        path.write_bytes(b"no image")
    with pytest.raises(FrfwError, match="remove it first"):
        write_drawn(open_source(root), tmp_path / "x.bin", 16, 2)
    assert not (tmp_path / "x.bin").exists()


# clean


def test_clean_finds_planted_faults(make_folder, tmp_path):
    rng = np.random.default_rng(1)
    dataset = open_source(make_folder([6] * 5))
    centres = np.linalg.qr(rng.standard_normal((32, 32)))[0][:5]
    centres[4] = centres[3] + 0.05 * rng.standard_normal(32)
    points = centres[dataset.labels] + 0.08 * rng.standard_normal((30, 32))
    points[2] = centres[1]  # image 2 of identity 0 shows identity 1
    points[10] = points[9] * 1.01
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    found = find_faults(points, dataset.labels, against=centres[2:3], duplicate=0.995)
    assert [i for i, _ in found.outliers] == [2]
    assert [(a, b) for a, b, _ in found.merges] == [(3, 4)]
    assert [(i, j) for i, j, _ in found.duplicates] == [(10, 9)]
    assert [i for i, _ in found.overlaps] == [2]
    assert write_patch(dataset, found, tmp_path / "patch.csv") == 4
    cleaned = open_source({"path": dataset.root, "patch": str(tmp_path / "patch.csv")})
    assert cleaned.num_classes == 3
    assert len(cleaned) == 30 - 2 - 6


def test_embedding_a_set_with_a_bad_image(make_folder):
    root = make_folder([3, 2])
    (root / "id000" / "001.jpg").write_bytes(b"")
    rows = embed_dataset(open_source(root), lambda x: x.reshape(len(x), -1)[:, :7] / 255, batch=2)
    assert rows.shape == (5, 7)
    assert (np.abs(rows).sum(1) > 0).tolist() == [True, False, True, True, True]


# bench


def test_bench_names_a_bottleneck(make_records):
    rates = bench(open_source(make_records([10, 10])), batch=8, images=64, workers=[0])
    assert min(rates.values()) > 0
    assert "bottleneck: " in table(rates)


def test_help_and_unknown_tool(command):
    assert "pack ANY OUT" in command("--help").stdout
    assert command("shred").returncode == 2


def test_as_a_program(tmp_path):
    """One line and exit code 1, from a fresh Python."""
    line = [sys.executable, "-m", "frfw.data", "pack", str(tmp_path / "none"), str(tmp_path / "o")]
    done = subprocess.run(line, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_manifest_damage_is_one_line(make_folder):
    root = make_folder([2])
    (root / "manifest.json").write_text("{")
    with pytest.raises(FrfwError, match=r"manifest\.json cannot be read"):
        open_source(root)
    (root / "manifest.json").write_text(json.dumps({"preprocessing": {"colour": 3}}))
    with pytest.raises(FrfwError, match="has no 'colour'"):
        open_source(root)


def test_tools_take_mixtures(make_folder, tmp_path, command):
    one, two = make_folder([3, 2], name="one"), make_folder([2, 4, 2], name="two")
    done = command("pack", one, two, tmp_path / "apart")
    assert (done.returncode, done.stdout.split(": ")[1][:26]) == (0, "13 images of 5 identities,")
    done = command("pack", one, two, tmp_path / "merged", "--by-name")
    assert "13 images of 3 identities" in done.stdout
    merged = open_source(tmp_path / "merged")
    assert np.bincount(merged.labels).tolist() == [5, 6, 2]
    done = command("inspect", one, two, "--by-name", "--picture", tmp_path / "p.png")
    assert "13 images of 3 identities" in done.stdout
    done = command("bench", one, two, "--images", "20", "--batch", "4", "--workers", "0")
    assert "bottleneck" in done.stdout


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
    assert not any("align" in w or "template" in w for w in found.warnings)
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
