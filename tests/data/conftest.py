"""Small real files for the data tests: drawn images, folders, RecordIO sets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from frfw.command import run
from frfw.data.__main__ import main
from frfw.data.decode import encode
from frfw.data.recordio import RecordWriter

REFERENCE = Path(__file__).resolve().parents[1] / "reference" / "data"


def draw(identity: int, number: int, size: int = 32) -> np.ndarray:
    """A uint8 RGB image whose mean colour tells its identity and number."""
    rng = np.random.default_rng([identity, number])
    base = np.array([40 + 20 * (identity % 10), 200 - 15 * (identity % 12), 90 + number])
    noise = rng.integers(-8, 9, (size, size, 3))
    return np.clip(base + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def reference() -> Path:
    return REFERENCE


@pytest.fixture
def make_folder(tmp_path):
    """Write identities with the given numbers of images: make_folder([3, 2]) -> path."""

    def make(counts, size=32, name="faces", suffix=".jpg"):
        root = tmp_path / name
        for identity, count in enumerate(counts):
            folder = root / f"id{identity:03d}"
            folder.mkdir(parents=True)
            for number in range(count):
                data = encode(draw(identity, number, size), suffix)
                (folder / f"{number:03d}{suffix}").write_bytes(data)
        return root

    return make


@pytest.fixture
def make_records(tmp_path):
    """Write a RecordIO set with the given numbers of images an identity."""

    def make(counts, size=32, name="records"):
        root = tmp_path / name
        with RecordWriter(root, (size, size)) as writer:
            for identity, count in enumerate(counts):
                for number in range(count):
                    writer.add(encode(draw(identity, number, size)), identity)
        return root

    return make


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


@pytest.fixture(scope="module")
def fuzz_records(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzz")
    with RecordWriter(root, (8, 8)) as writer:
        for identity in range(3):
            for value in (10, 90):
                image = np.full((8, 8, 3), value + identity, np.uint8)
                writer.add(encode(image), identity)
    return root, {p.name: p.read_bytes() for p in root.iterdir()}
