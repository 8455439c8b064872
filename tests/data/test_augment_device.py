"""The device version does what the CPU version does, from the same keys.

It keeps fractions of grey levels that OpenCV cuts off at every step. JPEG may differ by a step of the
spectrum where a value lies between two: at quality 10 that is up to 16 grey levels, in few pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from frfw.data.augment import Augment, preset_strengths
from frfw.data.augment.device import DeviceAugment
from frfw.data.randomness import sample_keys

SIZE, COUNT = 56, 24
KEYS = sample_keys(4, np.zeros(COUNT, np.int64), np.arange(COUNT))


def pictures():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (COUNT, SIZE, SIZE, 3), dtype=np.uint8)
    return np.stack([cv2.GaussianBlur(n, (0, 0), 3) for n in noise])


def both(**changes):
    strengths = preset_strengths("none", changes)
    images = pictures()
    one = Augment(strengths, SIZE)
    single = np.stack([one(i, int(k)) for i, k in zip(images, KEYS)])
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    result = DeviceAugment(strengths)(batch, torch.from_numpy(KEYS.view(np.int64)))
    assert result.dtype == torch.uint8
    return single.astype(int), result.permute(0, 2, 3, 1).numpy().astype(int)


@pytest.mark.parametrize(
    ("changes", "mean", "worst"),
    [
        ({"flip": 0.5}, 0, 0),
        ({"crop": 1}, 0, 0),
        ({"colour": 1}, 1.5, 5),
        ({"dark": 1}, 1.5, 4),
        ({"cover": 1}, 0.1, 1),
        ({"low_resolution": 1}, 0.2, 1),
        ({"blur": 1}, 0.6, 4),
        ({"jpeg": 1}, 0.6, 16),
        ({"flip": 0.5, "crop": 0.2, "colour": 0.2, "low_resolution": 0.2}, 0.4, 4),
    ],
)
def test_equals_the_cpu_version(changes, mean, worst):
    single, batch = both(**changes)
    difference = np.abs(single - batch)
    assert difference.mean() <= mean
    assert difference.max() <= worst


def test_noise_has_the_same_strength():
    single, batch = both(noise=1)
    plain = pictures().astype(int)
    for row in range(COUNT):
        one, two = (single[row] - plain[row]).std(), (batch[row] - plain[row]).std()
        assert one == pytest.approx(two, rel=0.1, abs=0.5)


def test_a_sample_does_not_depend_on_its_batch():
    augment = DeviceAugment(preset_strengths("degraded"))
    batch = torch.from_numpy(pictures()).permute(0, 3, 1, 2)
    keys = torch.from_numpy(KEYS.view(np.int64))
    whole = augment(batch, keys)
    for row in range(0, COUNT, 5):
        alone = augment(batch[row : row + 1], keys[row : row + 1])[0]
        assert (alone.int() - whole[row].int()).abs().max() <= 1
