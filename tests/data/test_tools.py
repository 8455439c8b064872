"""bench, and what all tools have in common."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from frfw.data import open_source
from frfw.data.bench import bench, table
from frfw.errors import FrfwError


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


@pytest.mark.parametrize(
    "line",
    [
        "pack X Y --size 0",
        "pack X Y --quality 500",
        "inspect X --limit 0",
        "inspect X --bad-limit 7",
        "bench X --batch 0",
        "bench X --workers -1",
        "pairs draw X Y.bin --pairs 0",
    ],
)
def test_numbers_out_of_range(command, line):
    done = command(*line.split())
    assert done.returncode == 2
    assert "is no " in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ("none/x.png", "there is no such folder"),
        ("faces", "is a folder: give a file, as in"),
        ("x.abc", "its name should end in .png, .jpg, .jpeg,"),
        ("x", "its name should end in .png"),
        ("locked/x.png", "cannot be written there"),
        ("locked.png", "cannot be written there"),
    ],
)
def test_a_picture_that_cannot_be_written_is_said_first(
    make_folder, command, tmp_path, monkeypatch, picture, message
):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked.png").write_bytes(b"")
    # The tests may run as root, to whom everything is open.
    monkeypatch.setattr("os.access", lambda path, mode: "locked" not in str(path))
    done = command("inspect", make_folder([2, 2]), "--picture", tmp_path / picture)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr


def test_a_bench_that_breaks_off_shows_what_it_measured(make_folder, command):
    root = make_folder([20, 20])
    for number in range(4):
        (root / "id000" / f"{number:03d}.jpg").write_bytes(b"broken")
    done = command("bench", root, "--images", "80", "--batch", "8", "--workers", "0")
    assert done.returncode == 1
    assert "bottleneck: " in done.stdout
    assert "loader, 0 workers" not in done.stdout
    assert "error: 4 bad images among the 16 seen of faces" in done.stderr
    for path in root.glob("*/*.jpg"):
        path.write_bytes(b"broken")
    done = command("bench", root, "--images", "80", "--batch", "8", "--workers", "0")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["read"]
    assert "error: faces: none of 80 images can be read" in done.stderr


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
