"""Drawing: a pure function of its seeds, aligned, the same person recognisably the same."""

import numpy as np
import pytest

from frfw.data.synthetic import Conditions, draw_face
from frfw.data.synthetic.camera import Camera, landmarks_3d, similarity
from frfw.data.synthetic.conditions import Difficulty, draw_conditions
from frfw.data.synthetic.draw import deform
from frfw.data.synthetic.head import head_model
from frfw.data.synthetic.identity import create_identity
from frfw.data.template import ARCFACE
from frfw.errors import FrfwError

# What two pictures must share to be compared pixel by pixel.
STILL = {
    "yaw": 0, "pitch": 0, "roll": 0, "age": 30, "smile": 0, "jaw": 0, "blink": 0, "glasses": "",
    "cap": False, "mask": False, "light_from": (20, 30), "key": 0.7, "fill": 0.45, "warmth": 0,
    "exposure": 0, "gamma": 1, "blur": 0, "motion": (0, 0), "low": 0, "noise": 0, "detail_seed": 5,
    "landmark_error": 0, "distance": 1400,
}  # fmt: skip


def test_a_picture_depends_on_its_seeds_alone():
    first = draw_face(3, 5, 2)
    others = [draw_face(3, 6, 2), draw_face(3, 5, 3), draw_face(4, 5, 2)]
    assert first.shape == (112, 112, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(draw_face(3, 5, 2), first)
    for other in others:
        assert np.abs(other.astype(int) - first).mean() > 3


@pytest.mark.parametrize("size", [48, 112, 160])
def test_size(size):
    assert draw_face(1, 1, 1, size).shape == (size, size, 3)


@pytest.mark.parametrize(
    "given",
    [
        {"yaw": 90}, {"yaw": -90}, {"yaw": 60, "pitch": 25, "roll": 40}, {"glasses": "sun"},
        {"cap": True, "hair": "afro"}, {"mask": True, "beard": "full"}, {"hair": "bald"},
        {"hair": "long", "yaw": -70}, {"blink": 1.0, "jaw": 1.0, "smile": 1.0}, {"age": 80},
        {"low": 30, "motion": (6, 45), "noise": 15},
    ],
)  # fmt: skip
def test_every_condition_draws_something_of_its_own(given):
    plain, changed = draw_face(2, 7, 0, **STILL), draw_face(2, 7, 0, **{**STILL, **given})
    assert np.abs(plain.astype(int) - changed).mean() > 0.3
    assert 15 < changed.mean() < 245


def test_a_person_is_more_like_itself_than_like_others():
    def features(identity, age):
        picture = draw_face(9, identity, age, hair="bald", beard="none", **{**STILL, "age": age})
        return picture[20:110, 20:92].astype(float)

    young, later = ([features(k, age) for k in range(6)] for age in (25, 38))
    distance = np.array([[np.abs(a - b).mean() for b in later] for a in young])
    assert (distance.argmin(axis=1) == np.arange(6)).all()


def test_frontal_landmarks_lie_on_the_template():
    errors = []
    for number in range(20):
        person = create_identity(1, number)
        points = deform(person, Conditions())
        camera = Camera(points, Conditions(), 112)
        found = camera.project(camera.turn(landmarks_3d(points)))
        errors.append(found - ARCFACE)
    assert np.abs(np.mean(errors, axis=0)).max() < 1.6
    # People differ, and a similarity cannot fit all five points of everyone.
    assert np.linalg.norm(errors, axis=2).mean() < 3.5
    camera = Camera(head_model().mean, Conditions(), 112)
    found = camera.project(camera.turn(landmarks_3d(head_model().mean)))
    assert np.linalg.norm(found - ARCFACE, axis=1).max() < 1.5


def test_similarity_is_least_squares():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(5, 2))
    target = source @ np.array([[0, 2], [-2, 0]]) + [3, 4]
    a, b = similarity(source, target)
    moved = a * (source[:, 0] + 1j * source[:, 1]) + b
    np.testing.assert_allclose(np.stack([moved.real, moved.imag], 1), target, atol=1e-12)


def test_profile_and_age_scenes():
    person = create_identity(1, 4)
    yaws = [abs(draw_conditions(person, k, "profile").yaw) for k in range(20)]
    assert min(yaws) > 55
    ages = [(draw_conditions(person, k, "young").age, draw_conditions(person, k + 1, "old").age)
            for k in range(0, 20, 2)]  # fmt: skip
    assert all(28 <= old - young <= 32 for young, old in ages)


def test_difficulty_zero_leaves_frontal_plain_pictures():
    easy = Difficulty(**dict.fromkeys(Difficulty.__dataclass_fields__, 0.0)).__class__
    easy = easy(pose=0, expression=0, light=0, occlusion=0, style=0, quality=0, alignment=0)
    c = draw_conditions(create_identity(1, 0), 3, "train", easy)
    assert (c.yaw, c.pitch, c.smile, c.glasses, c.cap, c.noise) == (0, 0, 0, "", False, 0)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(FrfwError, match="Did you mean 'profile'"):
        draw_face(1, 1, 1, scene="profil")
    with pytest.raises(FrfwError, match="Did you mean 'yaw'"):
        draw_face(1, 1, 1, yawn=3)
    with pytest.raises(FrfwError, match="hair is one of"):
        draw_face(1, 1, 1, hair="mohawk")
