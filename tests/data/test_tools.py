"""clean, bench, and what all tools have in common."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from frfw.data import open_source
from frfw.data.bench import bench, table
from frfw.data.clean import embed_dataset, find_faults, write_patch
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
