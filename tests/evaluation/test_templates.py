"""IJB pooling by hand, streamed pairs against the exact figures, files that are not so."""

from __future__ import annotations

import numpy as np
import pytest

from frfw.errors import FrfwError
from frfw.evaluation import metrics, template_files, templates
from frfw.evaluation.stream import ScoreStream
from frfw.evaluation.template_checks import check_media, check_pairs


def media(*rows):
    names, tids, mids = zip(*rows)
    return template_files.Media(np.array(names), np.array(tids), np.array(mids))


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
    monkeypatch.setattr(template_files, "_CHUNK", 700)
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
    found = template_files.read_media(tmp_path / "media.txt")
    assert found.names.tolist() == ["1.jpg", "2.jpg"]
    assert found.media.tolist() == [1, 2]
    (tmp_path / "points.txt").write_text("1.jpg 1 2 3 4 5 6 7 8 9 10 0.5\n")
    names, points, scores = template_files.read_detections(tmp_path / "points.txt")
    assert points[0].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    assert (names[0], scores[0]) == ("1.jpg", 0.5)
    (tmp_path / "g1.csv").write_text("TEMPLATE_ID,SUBJECT_ID,FILENAME\n7,3,a\n7,3,b\n8,4,c\n")
    ids, subjects = template_files.read_subjects(tmp_path / "g1.csv")
    assert (ids.tolist(), subjects.tolist()) == ([7, 8], [3, 4])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7 9 1\n7 9\n", r", line 2: '7 9' is not `template template 0\|1`"),
        ("7 9 x\n", r", line 1: '7 9 x' is not"),
        ("7 9 1\n\n7 9 2\n", r", line 3: '7 9 2' is not"),
        ("", r": not lines of"),
        ("7 9 1\n7 7 1\n", r": all (2 )?pairs are 'same'"),
        ("7 9 0\n", r": all (1 )?pairs are 'different'"),
    ],
)
def test_bad_pair_files(tmp_path, text, message):
    bank = templates.pool_templates(ROWS, LISTED)
    (tmp_path / "pairs.txt").write_text(text)
    for check in (
        lambda path: templates.verify_templates(bank, path),
        lambda path: check_pairs(path, bank.ids, False),
    ):
        with pytest.raises(FrfwError, match=r"pairs\.txt" + message):
            check(tmp_path / "pairs.txt")


def test_repeated_and_contradictory_template_pairs(tmp_path, monkeypatch):
    monkeypatch.setattr(template_files, "_CHUNK", 3)  # so that lines lie in different pieces
    ids, path = np.array([3, 7, 9, 20]), tmp_path / "pairs.txt"
    path.write_text("7 9 1\n3 9 0\n20 3 0\n20 9 0\n9 7 1\n3 3 1\n7 9 1\n20 3 0\n")
    assert check_pairs(path, ids, False) == [
        "3 pairs of pairs.txt come more than once, the first on line 5"
    ]
    with path.open("a") as file:
        file.write("9 7 0\n")
    with pytest.raises(
        FrfwError, match=r"pairs\.txt: lines 1 and 9 call templates [79] and [79] same"
    ):
        check_pairs(path, ids, False)
    assert len(check_pairs(path, ids, True)) == 1
    path.write_text("7 9 0\n7 9 1\n")  # within one piece
    with pytest.raises(FrfwError, match=r"lines 1 and 2 call"):
        check_pairs(path, ids, False)


def test_seen_pairs_equal_a_plain_search(tmp_path, monkeypatch):
    monkeypatch.setattr(template_files, "_CHUNK", 37)
    rng = np.random.default_rng(0)
    ids = np.arange(30) * 2
    rows = rng.integers(0, 30, (300, 2))
    label = (np.sort(rows, axis=1) @ [31, 1]) % 2  # a pair has one label
    np.savetxt(tmp_path / "pairs.txt", np.column_stack([rows * 2, label]), fmt="%d")
    ends = [tuple(sorted(row)) for row in rows.tolist()]
    again = [at for at, pair in enumerate(ends) if pair in ends[:at]]
    (note,) = check_pairs(tmp_path / "pairs.txt", ids, False)
    assert note == (
        f"{len(again)} pairs of pairs.txt come more than once, the first on line {again[0] + 1}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.jpg 7 1\n2.jpg 7\n", r"media\.txt, line 2: '2\.jpg 7' is not `image template medium`"),
        ("", r"media\.txt lists no image"),
        ("1.jpg 7 1\n2.jpg 7 2\n1.jpg 7 2\n", r"lines 1 and 3 give 1\.jpg two media of template 7"),
    ],
)
def test_bad_media_lists(tmp_path, text, message):
    path = tmp_path / "media.txt"
    path.write_text(text)
    with pytest.raises(FrfwError, match=message):
        check_media(template_files.read_media(path), path, False)


def test_media_lines_that_come_twice_are_noted(tmp_path):
    path = tmp_path / "media.txt"
    path.write_text("1.jpg 7 1\nNA 7 1\n1.jpg 7 1\n1.jpg 8 4\n")
    listed = template_files.read_media(path)
    assert listed.names.tolist() == ["1.jpg", "NA", "1.jpg", "1.jpg"]
    assert check_media(listed, path, False) == ["1 lines of media.txt come more than once"]


POINTS = "1 2 3 4 5 6 7 8 9 10"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"2.jpg {POINTS}", r"line 2"),  # no score
        (f"2.jpg {POINTS} nan", r"line 2"),
        (f"2.jpg {POINTS} -0.1", r"line 2: .*the detector score is missing, not a number or neg"),
        (f"2.jpg {POINTS} high", r"line 2: '2\.jpg 1 2 3 4 5 6 7 8 9 10 high' is not"),
        (f"2.jpg nan {POINTS}", r"line 2"),
        (f"1.jpg {POINTS} 0.4", r"lines 1 and 2 differ about 1\.jpg"),
    ],
)
def test_bad_detections(tmp_path, line, message):
    path = tmp_path / "points.txt"
    path.write_text(f"1.jpg {POINTS} 0.5\n{line}\n3.jpg {POINTS} 0.5\n")
    with pytest.raises(FrfwError, match=rf"points\.txt.*{message}"):
        template_files.read_detections(path)


def test_bad_subject_lists(tmp_path):
    path = tmp_path / "g1.csv"
    for text, message in (
        ("TEMPLATE_ID,SUBJECT_ID\n7,3\n8\n", r"g1\.csv, line 3: '8' is not"),
        ("TEMPLATE_ID,SUBJECT_ID\n", r"g1\.csv lists no template"),
        ("TEMPLATE_ID,SUBJECT_ID\n7,3\n7,4\n", r"template 7 has two subjects \(lines 2, 3\)"),
    ):
        path.write_text(text)
        with pytest.raises(FrfwError, match=message):
            template_files.read_subjects(path)


def test_scores_of_zero_leave_no_template():
    with pytest.raises(FrfwError, match=r"template 7 pools to zero: the detector scores"):
        templates.pool_templates(ROWS, LISTED, detector_scores=np.array([0.0, 0, 0, 1]))


def test_unknown_template_and_bad_embedding_are_named(tmp_path):
    bank = templates.pool_templates(ROWS, LISTED)
    (tmp_path / "pairs.txt").write_text("7 9 0\n7 8 1\n")
    with pytest.raises(FrfwError, match="template 8 has no image"):
        templates.verify_templates(bank, tmp_path / "pairs.txt")
    with pytest.raises(FrfwError, match=r"image 3\.jpg is zero or not numbers"):
        templates.pool_templates(ROWS * [[1], [1], [np.nan], [1]], LISTED)
