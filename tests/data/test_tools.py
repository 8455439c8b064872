"""clean, bench, and what all tools have in common."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from frfw.data import open_source
from frfw.data.bench import bench, table
from frfw.data.clean import Findings, embed_dataset, find_faults, write_patch
from frfw.data.clean_picture import draw_worst, read_against
from frfw.errors import FrfwError


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
    assert [(i, j) for i, _, j in found.overlaps] == [(2, 0)]
    assert found.across == []  # 3 and 4 are one person: their twins are no other identity's
    assert write_patch(dataset, found, tmp_path / "patch.csv") == 4
    cleaned = open_source({"path": dataset.root, "patch": str(tmp_path / "patch.csv")})
    assert cleaned.num_classes == 3
    assert len(cleaned) == 30 - 2 - 6


def test_the_same_picture_in_two_identities(make_folder, tmp_path):
    rng = np.random.default_rng(1)
    dataset = open_source(make_folder([6] * 4))
    centres = np.linalg.qr(rng.standard_normal((32, 32)))[0][:4]
    points = centres[dataset.labels] + 0.08 * rng.standard_normal((24, 32))
    points[20] = points[3]  # image 3 of identity 0 lies among identity 3 as well
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    found = find_faults(points, dataset.labels, outlier=-1)
    assert [(i, j) for i, j, _ in found.across] == [(20, 3)]  # dropped where it fits less well
    assert write_patch(dataset, found, tmp_path / "patch.csv") == 1
    cleaned = open_source({"path": dataset.root, "patch": str(tmp_path / "patch.csv")})
    assert len(cleaned) == 23


def test_the_picture_shows_every_kind_of_finding(make_folder, tmp_path):
    dataset = open_source(make_folder([4] * 6))
    against = np.full((3, 40, 40, 3), (250, 10, 10), np.uint8)
    found = Findings(
        outliers=[(i, 0.1) for i in range(9)],
        merges=[(0, 1, 0.9)],
        overlaps=[(2, 0.8, 1)],
        across=[(5, 9, 0.99)],
    )
    draw_worst(dataset, found, tmp_path / "worst.png", rows=8, against=against)
    sheet = cv2.imread(str(tmp_path / "worst.png"))[..., ::-1]
    assert sheet.shape == (8 * 84, 6 * 84, 3)
    row = sheet[2 * 84 : 3 * 84]  # outlier, merge, overlap, across, then outliers again
    assert row[0, 40].tolist() == [60, 110, 220]
    assert row[42, 42].tolist() == [250, 10, 10]


def test_bad_evaluation_images_are_left_out_and_named(make_folder, tmp_path):
    root = make_folder([2, 2])
    (root / "id001" / "000.jpg").write_bytes(b"")
    images, bad = read_against(root, 40)
    assert images.shape == (3, 40, 40, 3)
    assert len(bad) == 1
    assert "image 2 of" in bad[0]
    for path in root.rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(FrfwError, match="no image of it can be read"):
        read_against(root, 40)


def test_embedding_a_set_with_a_bad_image(make_folder):
    root = make_folder([3, 2])
    (root / "id000" / "001.jpg").write_bytes(b"")
    rows = embed_dataset(open_source(root), lambda x: x.reshape(len(x), -1)[:, :7] / 255, batch=2)
    assert rows.shape == (5, 7)
    assert (np.abs(rows).sum(1) > 0).tolist() == [True, False, True, True, True]


def test_bench_names_a_bottleneck(make_records):
    rates = bench(open_source(make_records([10, 10])), batch=8, images=64, workers=[0])
    assert min(rates.values()) > 0
    assert "bottleneck: " in table(rates)
    measured = {name.removeprefix("decoder: ") for name in rates if name.startswith("decoder: ")}
    assert {"frfw, into a batch", "simplejpeg", "OpenCV", "torchvision.io", "Pillow"} <= measured
    assert "decoder: torchcodec" in table(rates)  # measured, or why not


def test_bench_of_pngs_with_a_bad_one(make_folder):
    """Decoders that read no PNG are left out, and the bad image is nobody's end."""
    root = make_folder([4, 4], suffix=".png")
    (root / "id000" / "001.png").write_bytes(b"broken")
    rates = bench(open_source({"path": root, "size": 32}), batch=4, images=32, workers=[])
    assert "decoder: Pillow" in rates
    assert "decoder: simplejpeg" not in rates


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
