"""What training and verification share is said before the first step."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from frfw.data import open_source
from frfw.evaluation import PairSet, load_pairs
from frfw.evaluation.images import ImageList
from frfw.training import overlap


@pytest.fixture
def people(tmp_path) -> Path:
    """Folder of 3 identities, 2 images each."""
    rng = np.random.default_rng(0)
    for name in ("Ada_Lovelace", "Grace_Hopper", "7"):
        folder = tmp_path / "train" / name
        folder.mkdir(parents=True)
        for i in range(2):
            cv2.imwrite(str(folder / f"{i}.png"), rng.integers(0, 255, (16, 16, 3), np.uint8))
    return tmp_path / "train"


def listed(folder: Path, names: list[str], data: list[bytes], pairs, same) -> PairSet:
    files = []
    for i, (name, content) in enumerate(zip(names, data)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        files.append(folder / name / f"{i}.png")
        files[-1].write_bytes(content)
    known, identities = np.unique(names, return_inverse=True)
    return PairSet(
        "own", ImageList(files, "own"), np.array(pairs), np.array(same),
        identities=identities, identity_names=known.tolist(),
    )  # fmt: skip


def test_shared_names_and_images_are_said(people, tmp_path):
    copied = (people / "Ada_Lovelace" / "0.png").read_bytes()
    names = ["ada lovelace", "Hedy_Lamarr", "7"]
    pairs = listed(tmp_path / "own", names, [copied, b"2", b"3"], [[0, 1], [1, 2]], [False, False])
    said = overlap.warnings(open_source({"path": str(people)}), people, {"own": pairs})
    assert len(said) == 2
    assert "1 of the 2 identities of own" in said[0]  # a number is no name elsewhere
    assert "Ada_Lovelace" in said[0]
    assert "1 images of own are training images too (6 of 6" in said[1]


def test_numbers_are_names_within_the_training_folder(people):
    files = sorted(people.glob("*/*.png"))
    names = [f.parent.name for f in files]
    known, identities = np.unique(names, return_inverse=True)
    pairs = PairSet(
        "own", ImageList(files, "own"), np.array([[0, 1]]), np.array([True]),
        identities=identities, identity_names=known.tolist(),
    )  # fmt: skip
    said = overlap.warnings(open_source({"path": str(people)}), people, {"own": pairs})
    assert "3 of the 3 identities of own" in said[0]


def test_pairs_that_contradict_each_other(people, tmp_path):
    pairs = PairSet(
        "own", ImageList([b"a", b"b", b"c"], "own"),
        np.array([[0, 1], [0, 0], [1, 0], [1, 2]]), np.array([True, False, False, False]),
        identities=np.array([0, 0, 1]),
    )  # fmt: skip
    said = overlap.warnings(open_source({"path": str(people)}), people, {"own": pairs})
    assert "1 pair(s) (the first is pair 1," in said[0]
    assert "twice the same image" in said[0]
    assert "1 pair(s) (the first is pair 2," in said[1]
    assert "of one person" in said[1]


def test_a_sound_pack_is_not_complained_about(blobs):
    pairs = load_pairs(blobs / "lfw.bin", "lfw")
    assert overlap.warnings(open_source({"path": str(blobs)}), blobs, {"lfw": pairs}) == []
