"""IJB pooling by hand, streamed pairs against the exact figures, files that are not so."""

from __future__ import annotations

import numpy as np
import pytest

from frfw.errors import FrfwError
from frfw.evaluation import metrics, templates
from frfw.evaluation.stream import ScoreStream


def media(*rows):
    names, tids, mids = zip(*rows)
    return templates.Media(np.array(names), np.array(tids), np.array(mids))


LISTED = media(("1.jpg", 7, 1), ("2.jpg", 7, 2), ("3.jpg", 7, 2), ("4.jpg", 9, 3))
ROWS = np.array([[2.0, 0], [0, 4], [0, 8], [3, 4]])


def unit(*values):
    return np.array(values) / np.linalg.norm(values)


@pytest.mark.parametrize(
    ("flags", "pooled"),
    [
        # medium 1: (2, 0); medium 2: mean of (0, 4) and (0, 8)
        ({}, (2, 6)),
        ({"media_pooling": False}, (2, 12)),
        ({"keep_norm": False}, (1, 1)),
        ({"detector_scores": np.array([1.0, 0.5, 0.25, 1])}, (2, (0.5 * 4 + 0.25 * 8) / 2)),
    ],
)
def test_pooling_by_hand(flags, pooled):
    found = templates.pool_templates(ROWS, LISTED, **flags)
    assert found.ids.tolist() == [7, 9]
    assert found.features[0] == pytest.approx(unit(*pooled), abs=1e-6)
    assert found.features[1] == pytest.approx([0.6, 0.8], abs=1e-6)


def test_streamed_pairs_equal_the_exact_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(templates, "_CHUNK", 700)
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(40), 5)
    rows = rng.standard_normal((40, 16))[people] + 0.8 * rng.standard_normal((200, 16))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    bank = templates.Templates(np.arange(200) * 3 + 5, rows)
    i, j = np.triu_indices(200, 1)
    same = people[i] == people[j]
    lines = np.stack([bank.ids[i], bank.ids[j], same], axis=1)
    np.savetxt(tmp_path / "pairs.txt", lines, fmt="%d")
    result = templates.verify_templates(bank, tmp_path / "pairs.txt", threads=2)
    scores = np.einsum("ij,ij->i", rows[i].astype(float), rows[j].astype(float))
    genuine, impostor = metrics.split_scores(scores, same)
    assert (result.genuine_count, result.impostor_count) == (same.sum(), (~same).sum())
    assert result.auc == pytest.approx(metrics.auc(genuine, impostor), abs=1e-6)
    for target in (0.1, 0.01, 1e-3):
        exact = metrics.tar_at_far(genuine, impostor, target)
        assert result.tar_at_far[target] == pytest.approx(exact.tar, abs=1 / same.sum())
    assert result.tar_at_far[1e-6] is None
    assert "too few for FAR 1e-06" in result.operating_points[-1].note


def test_stream_by_hand():
    stream = ScoreStream(bins=64)
    stream.add(np.array([0.9, 0.5, -0.2]), np.array([True, True, True]))
    stream.add(np.array([0.6, 0.1, -0.5, -1.0]), np.array([False] * 4))
    result = stream.result("hand", (0.5, 0.25))
    assert result.auc == pytest.approx(9 / 12)  # 4 + 3 + 2 of 4 impostors beaten
    assert result.tar_at_far == pytest.approx({0.5: 1.0, 0.25: 2 / 3})
    with pytest.raises(FrfwError, match="score 1 of 2 is not a number"):
        stream.add(np.array([0.0, np.nan]), np.array([True, False]))


def test_files(tmp_path):
    (tmp_path / "media.txt").write_text("1.jpg 7 1\n2.jpg 7 2\n")
    found = templates.read_media(tmp_path / "media.txt")
    assert found.names.tolist() == ["1.jpg", "2.jpg"]
    assert found.media.tolist() == [1, 2]
    (tmp_path / "points.txt").write_text("1.jpg 1 2 3 4 5 6 7 8 9 10 0.5\n")
    names, points, scores = templates.read_detections(tmp_path / "points.txt")
    assert points[0].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    assert (names[0], scores[0]) == ("1.jpg", 0.5)
    (tmp_path / "g1.csv").write_text("TEMPLATE_ID,SUBJECT_ID,FILENAME\n7,3,a\n7,3,b\n8,4,c\n")
    ids, subjects = templates.read_subjects(tmp_path / "g1.csv")
    assert (ids.tolist(), subjects.tolist()) == ([7, 8], [3, 4])


@pytest.mark.parametrize("text", ["7 9\n", "7 9 x\n", "7 9 2\n", ""])
def test_bad_pair_files(tmp_path, text):
    bank = templates.pool_templates(ROWS, LISTED)
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(FrfwError, match=r"pairs\.txt: not lines of"):
        templates.verify_templates(bank, tmp_path / "pairs.txt")


def test_unknown_template_and_bad_embedding_are_named(tmp_path):
    bank = templates.pool_templates(ROWS, LISTED)
    (tmp_path / "pairs.txt").write_text("7 9 0\n7 8 1\n")
    with pytest.raises(FrfwError, match="template 8 has no image"):
        templates.verify_templates(bank, tmp_path / "pairs.txt")
    with pytest.raises(FrfwError, match=r"image 3\.jpg is zero or not numbers"):
        templates.pool_templates(ROWS * [[1], [1], [np.nan], [1]], LISTED)
