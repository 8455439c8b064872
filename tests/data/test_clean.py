"""clean: what it finds, writes and draws."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest

from frfw.data import open_source
from frfw.data.clean import Findings, embed_dataset, find_faults, write_patch
from frfw.data.clean_command import _embed, _open_against
from frfw.data.clean_picture import draw_worst
from frfw.data.neighbours import close_across
from frfw.data.verification_pack import write_pack
from frfw.errors import FrfwError


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


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


def test_one_picture_in_two_identities(make_folder, tmp_path):
    """The patch drops it where it fits less."""
    rng = np.random.default_rng(2)
    dataset = open_source(make_folder([5, 5, 5]))
    centres = np.linalg.qr(rng.standard_normal((32, 32)))[0][:3]
    points = unit(centres[dataset.labels] + 0.1 * rng.standard_normal((15, 32)))
    points[1] = points[12]  # image 12 is identity 2's, and lies in identity 0 too
    found = find_faults(points, dataset.labels, outlier=-1)
    assert [(i, j) for i, j, _ in found.crossing] == [(1, 12)]
    assert (found.duplicates, found.merges) == ([], [])
    assert write_patch(dataset, found, tmp_path / "patch.csv") == 1
    cleaned = open_source({"path": dataset.root, "patch": str(tmp_path / "patch.csv")})
    assert np.bincount(cleaned.labels).tolist() == [4, 5, 5]


def test_a_picture_that_is_in_the_evaluation_set(make_folder):
    """Its identity overlaps, even where its centre is far from that picture."""
    rng = np.random.default_rng(3)
    dataset = open_source(make_folder([4, 4]))
    points = unit(rng.standard_normal((8, 64)))
    against = unit(rng.standard_normal((5, 64)))
    against[3] = points[6]
    found = find_faults(points, dataset.labels, against=against, outlier=-1)
    assert [(identity, image) for identity, _, image in found.overlaps] == [(1, 3)]


def test_close_across_finds_what_comparing_all_pairs_finds():
    rng = np.random.default_rng(0)
    rows = unit(rng.standard_normal((6000, 24)))
    copies = rng.choice(6000, 200, replace=False)
    rows[copies[:100]] = unit(rows[copies[100:]] + 0.03 * rng.standard_normal((100, 24)))
    labels = rng.integers(0, 40, 6000)
    cosine = np.tril(rows @ rows.T, -1)
    cosine[labels[:, None] == labels] = 0
    wanted = {(int(i), int(cosine[i].argmax())) for i in np.flatnonzero(cosine.max(1) > 0.97)}
    assert len(wanted) > 80
    assert {(i, j) for i, j, _ in close_across(rows, labels, 0.97)} == wanted


def test_a_bad_image_of_the_evaluation_set_is_named_not_fatal(
    make_folder, tmp_path, caplog, capsys
):
    faces = open_source({"path": make_folder([2, 2]), "size": 32})
    images = [faces.read(i) for i in range(4)]
    images[2] = b"broken"
    write_pack(tmp_path / "lfw.bin", images, [True, False])

    def embed(pixels):
        return unit(pixels.reshape(len(pixels), -1)[:, :5].astype(np.float32))

    with caplog.at_level(logging.WARNING):
        rows = _embed(_open_against(str(tmp_path / "lfw.bin"), 32), embed)
    assert (np.abs(rows).sum(1) > 0).tolist() == [True, True, False, True]
    assert "lfw.bin image 2" in caplog.text
    assert "lfw: 1 of 4 images are unreadable" in capsys.readouterr().out
    write_pack(tmp_path / "lfw.bin", [b"x"] * 4, [True, False])
    with pytest.raises(FrfwError, match="none of its 4 images can be read"):
        _embed(_open_against(str(tmp_path / "lfw.bin"), 32), embed)


def test_the_picture_shows_every_kind(make_folder, tmp_path):
    """A captioned row each; the evaluation set's own image at the end of an overlap's row."""
    dataset = open_source({"path": make_folder([4, 4, 4]), "size": 32})
    images = [np.full((32, 32, 3), (10, 250, 10), np.uint8)] * 2
    write_pack(tmp_path / "e.bin", [cv2.imencode(".png", i)[1].tobytes() for i in images], [True])
    found = Findings(
        outliers=[(0, 0.1)],
        duplicates=[(2, 1, 0.99)],
        crossing=[(3, 4, 0.98), (2, 5, 0.98)],  # a row for these two: the same two identities
        merges=[(0, 1, 0.9)],
        overlaps=[(2, 0.8, 1)],
        noisy=[(5, 80.0)],
    )
    held = _open_against(str(tmp_path / "e.bin"), 32)
    draw_worst(dataset, found, tmp_path / "worst.png", against=held)
    picture = cv2.imread(str(tmp_path / "worst.png"))
    assert picture.shape == (6 * 100, 6 * 84, 3)
    green = np.array([10, 250, 10])
    rows = picture.reshape(6, 100, 6, 84, 3)[:, 50, :, 42].astype(int)
    assert np.argwhere(np.abs(rows - green).max(-1) < 3).tolist() == [[4, 4]]
    draw_worst(dataset, Findings(), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
