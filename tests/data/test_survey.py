"""inspect: what it finds, says and draws."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from frfw.data import open_source
from frfw.data.decode import encode
from frfw.data.duplicates import near_duplicates, perceptual_hash, small_picture
from frfw.data.survey import quick_check, survey
from frfw.data.survey_report import draw_picture, report_lines
from frfw.data.template import ARCFACE, face_offsets
from frfw.training.preflight import images


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


def draw_face(at, shift=(0, 0), channels=(0, 1, 2), width=112):
    """Skin with dark eyes and mouth on the template, moved by `shift` (None: anywhere)."""
    rng = np.random.default_rng(at)
    shift = rng.integers(-40, 40, 2) if shift is None else shift
    face = np.full((112, 112, 3), (200, 150, 120), np.int64)
    face = np.clip(face + rng.integers(-40, 40, (14, 14, 3)).repeat(8, 0).repeat(8, 1), 0, 255)
    face = face.astype(np.uint8)
    for x, y in ARCFACE[:2] + shift:
        cv2.circle(face, (round(x), round(y)), 5, (40, 30, 30), -1)
    ends = [tuple(np.rint(point).astype(int).tolist()) for point in ARCFACE[3:] + shift]
    cv2.line(face, *ends, (90, 40, 40), 4)
    return np.ascontiguousarray(face[..., list(channels)][:, (112 - width) // 2 :][:, :width])


@pytest.fixture
def inspected(tmp_path, command):
    """Write faces, spoil some, inspect: inspected(identities, spoil, **draw_face's) -> done."""

    def inspect(identities=3, spoil=lambda root: None, **how):
        root = tmp_path / "in"
        for at in range(48):
            path = root / f"p{at % identities}" / f"{at}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(draw_face(at, **how), ".png"))
        spoil(root)
        return command("inspect", root, "--picture", tmp_path / "p.png")

    return inspect


SPOILT = {
    "not aligned": ({"shift": None}, "the faces are hardly aligned"),
    "another template": ({"shift": (0, 9)}, " px off the template: another alignment"),
    "BGR": ({"channels": (2, 1, 0)}, "red and blue look swapped"),
    "not square": ({"width": 96}, "48 of 48 images are not square"),
    "one identity": ({"identities": 1}, "one identity only"),
    "unreadable": (
        {"spoil": lambda root: (root / "p0" / "0.png").write_bytes(b"x")},
        "1 of 48 images are unreadable (2.1%, more than the 1.0%",
    ),
    "one picture under two names": (
        {"spoil": lambda root: (root / "p1" / "c.png").write_bytes(encode(draw_face(0), ".png"))},
        "2 duplicate images lie in different identities",
    ),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_exit_1_on_what_would_spoil_a_run(inspected, kind):
    how, message = SPOILT[kind]
    done = inspected(**how)
    assert done.returncode == 1
    assert "would spoil a run: " in done.stderr
    assert message in done.stderr
    assert done.stderr.split("would spoil a run: ")[1].count(";") == 0  # and nothing else


def test_exit_0_and_a_warning_on_what_may(inspected):
    """Identities without images, loose images, identities of one image; grey images are no BGR."""

    def spoil(root):
        (root / "nobody").mkdir()
        (root / "loose.png").write_bytes(encode(draw_face(99), ".png"))
        (root / "alone").mkdir()
        (root / "alone" / "1.png").write_bytes(encode(draw_face(100, channels=(1, 1, 1)), ".png"))

    done = inspected(spoil=spoil, channels=(1, 1, 1))
    assert done.returncode == 0, done.stderr
    assert "cannot be told, the images are grey" in done.stdout
    assert "warning: 1 sub-folders of" in done.stdout
    assert "hold no image and are no identities: nobody" in done.stdout
    assert "warning: 1 images lie in" in done.stdout
    assert "warning: 1 identities have one image only" in done.stdout


def test_exit_0_on_faces_as_they_should_be(inspected):
    done = inspected()
    assert (done.returncode, "warning" in done.stdout) == (0, False), done.stderr


def test_before_a_run_geometry_is_a_warning(tmp_path):
    """Whoever wants other crops trains; swapped channels nobody wants."""
    root, said = tmp_path / "in", []
    for at in range(48):
        path = root / f"p{at % 2}" / f"{at}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(draw_face(at, shift=None), ".png"))
    trainer = SimpleNamespace(
        config={"data": {"bad_limit": 0.01, "path": "x"}},
        parts=SimpleNamespace(dataset=open_source(root)),
        recorder=SimpleNamespace(message=said.append),
    )
    images(trainer)
    assert any("hardly aligned" in line for line in said)
    few = survey(open_source(root), 20)
    assert (few.geometry, any("hardly aligned" in w for w in few.warnings)) == ([], True)


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
