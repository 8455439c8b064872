"""Augmentation depends on the key alone, does what its strengths say, leaves its input."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frfw.data import create_augment
from frfw.data.augment import PRESETS, preset_strengths
from frfw.data.augment.occluders import occluders
from frfw.data.augment.plan import draw_plan
from frfw.data.randomness import sample_keys
from frfw.errors import FrfwError

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
KEYS = sample_keys(1, np.zeros(4000, np.int64), np.arange(4000))


def only(**changes):
    return create_augment("none", 48, changes)


@given(st.sampled_from(sorted(PRESETS)), st.integers(0, 2**64 - 1))
def test_function_of_the_key(name, key):
    augment = create_augment(name, 48)
    if augment is None:
        assert name == "none"
        return
    before = IMAGE.copy()
    one, two = augment(IMAGE, key), pickle.loads(pickle.dumps(augment))(IMAGE, key)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(IMAGE, before)
    assert one.shape == IMAGE.shape
    assert one.dtype == np.uint8


@pytest.mark.parametrize("size", [1, 5, 20, 112, 160])
def test_any_size(size):
    image = np.full((size, size, 3), 99, np.uint8)
    augment = create_augment("degraded", size)
    for key in range(60):
        assert augment(image, key * 7919).shape == image.shape


def test_shares_are_as_stated():
    s = preset_strengths("degraded")
    plan = draw_plan(s, KEYS, 112)
    shares = {
        "flip": plan.flip,
        "crop": (plan.crop != (0, 112, 0, 112)).any(1),
        "colour": plan.brightness != 1,
        "low_resolution": plan.low_side > 0,
        "blur": (plan.sigma > 0) | (plan.motion > 0),
        "noise": plan.noise > 0,
        "jpeg": plan.quality > 0,
        "dark": plan.gain != 1,
        "cover": plan.cover >= 0,
    }
    for name, happened in shares.items():
        assert abs(happened.mean() - getattr(s, name)) < 0.03, name
    changed = np.any([v for k, v in shares.items() if k != "flip"], axis=0)
    # A crop that keeps everything counts as none here.
    assert ((~changed) == plan.plain).mean() > 0.99


def test_drawn_values_lie_in_their_ranges():
    s = preset_strengths("degraded")
    plan = draw_plan(s, KEYS, 112)
    top, bottom, left, right = plan.crop.T
    assert ((top >= 0) & (bottom <= 112) & (left >= 0) & (right <= 112)).all()
    assert ((bottom > top) & (right > left)).all()
    area = (bottom - top) * (right - left) / 112**2
    assert area.min() > 0.17
    low = plan.low_side[plan.low_side > 0]
    assert low.min() >= int(0.2 * 112)
    assert low.max() <= 112
    assert abs(low.mean() / 112 - 0.6) < 0.03  # uniform over its range
    assert set(plan.quality[plan.quality > 0]) <= set(range(10, 61))
    assert set(plan.cover) == set(range(-1, 8))


def test_each_effect_alone():
    grey = np.full((48, 48, 3), 128, np.uint8)
    assert (only(dark=1)(grey, 3) < 128).all()
    kept = only(crop=1)(grey, 5)
    assert set(np.unique(kept)) == {0, 128}
    noisy = only(noise=1, noise_std=[10, 10])(grey, 5).astype(float) - 128
    assert 8 < noisy.std() < 12
    smooth = only(blur=1)(IMAGE, 5)
    assert smooth.std() < IMAGE.std()
    assert only(low_resolution=1, low_side=[0.2, 0.3])(IMAGE, 5).std() < IMAGE.std()
    assert (only(cover=1)(grey, 5) != grey).any()
    assert (only(jpeg=1)(IMAGE, 5) != IMAGE).any()
    assert (only(flip=1)(IMAGE, 5) == IMAGE[:, ::-1]).all()
    assert only() is None


def test_covers_lie_where_faces_have_them():
    alpha = occluders(112)
    for number in range(8):
        rows = np.flatnonzero(alpha[number].max(1) > 0.9)
        centre = (alpha[number].sum(1) * np.arange(112)).sum() / alpha[number].sum()
        assert rows.size
        assert (centre > 75) if number < 4 else (40 < centre < 62)


def test_refusals():
    with pytest.raises(FrfwError, match="Did you mean 'standard'"):
        create_augment("standart")
    with pytest.raises(FrfwError, match="Did you mean 'jpeg'"):
        create_augment("standard", strengths={"jpg": 0.2})
    with pytest.raises(FrfwError, match=r"must lie in 0\.\.1"):
        create_augment("standard", strengths={"jpeg": 2})
    with pytest.raises(FrfwError, match="give"):
        create_augment("standard", strengths={"low_side": [0.9, 0.1]})
