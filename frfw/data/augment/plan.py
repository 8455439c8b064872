"""All random choices for a batch at once, as arrays: a function of one key a sample."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from frfw.data.augment.strengths import Range, Strengths
from frfw.data.randomness import uniforms

COVERS = 8  # drawn occluders: the first half face masks, the others sunglasses
_SLOTS = 32


@dataclass
class Plan:
    """What happens to each of m images; a value that does not apply is 0 or 1 as stated.

    Attributes:
        flip: (m,) bool.
        cover: (m,) int occluder number, -1 for none. cover_shift: (m, 2) pixels down and right.
        cover_colour: (m, 3) 0..255.
        crop: (m, 4) int top, bottom, left, right of what is kept (whole image without cropping).
        brightness, contrast, saturation: (m,) factors, 1 for none.
        gamma, gain: (m,) low light, 1 for none.
        sigma: (m,) Gaussian blur in pixels, 0 for none.
        motion: (m,) int pixels, 0 for none. motion_down: (m,) bool, along columns.
        low_side: (m,) int pixels, 0 for none. low_down, low_up: (m,) int 0..4 interpolation.
        noise: (m,) standard deviation, 0 for none. noise_seed: (m,) int31.
        quality: (m,) int JPEG quality, 0 for none.
    """

    flip: np.ndarray
    cover: np.ndarray
    cover_shift: np.ndarray
    cover_colour: np.ndarray
    crop: np.ndarray
    brightness: np.ndarray
    contrast: np.ndarray
    saturation: np.ndarray
    gamma: np.ndarray
    gain: np.ndarray
    sigma: np.ndarray
    motion: np.ndarray
    motion_down: np.ndarray
    low_side: np.ndarray
    low_down: np.ndarray
    low_up: np.ndarray
    noise: np.ndarray
    noise_seed: np.ndarray
    quality: np.ndarray
    plain: np.ndarray  # (m,) bool: nothing but perhaps a flip


def draw_plan(strengths: Strengths, keys: np.ndarray, size: int) -> Plan:
    """Draw for the (m,) uint64 `keys`; each choice has its own column of random numbers."""
    if not _only_mirrors(strengths):
        return _draw_all(strengths, keys, size)
    plan = copy(_untouched(len(keys), size))
    plan.flip = uniforms(keys, 1)[:, 0] < strengths.flip
    return plan


@lru_cache(maxsize=4)
def _only_mirrors(strengths: Strengths) -> bool:
    """Whether it is the usual preset: nothing else need be drawn."""
    return strengths == Strengths(flip=strengths.flip)


@lru_cache(maxsize=4)
def _untouched(count: int, size: int) -> Plan:
    """The plan in which nothing happens; shared, not to be written to."""
    return _draw_all(Strengths(), np.zeros(count, np.uint64), size)


def _draw_all(strengths: Strengths, keys: np.ndarray, size: int) -> Plan:
    s, u = strengths, uniforms(keys, _SLOTS)

    def when(p: float, column: int, value: np.ndarray, otherwise: float) -> np.ndarray:
        return np.where(u[:, column] < p, value, np.array(otherwise, value.dtype))

    def within(limits: Range, column: int) -> np.ndarray:
        return limits[0] + (limits[1] - limits[0]) * u[:, column]

    motion = u[:, 14] < 0.5
    blurred = u[:, 13] < s.blur
    plan = Plan(
        flip=u[:, 0] < s.flip,
        cover=when(s.cover, 22, (u[:, 23] * COVERS).astype(np.int64), -1),
        cover_shift=np.rint((u[:, 24:26] - 0.5) * 0.08 * size).astype(np.int64),
        cover_colour=_cover_colour(u),
        crop=_crop(s, u, size),
        brightness=when(s.colour, 6, 1 + s.brightness * (2 * u[:, 7] - 1), 1),
        contrast=when(s.colour, 6, 1 + s.contrast * (2 * u[:, 8] - 1), 1),
        saturation=when(s.colour, 6, 1 + s.saturation * (2 * u[:, 9] - 1), 1),
        gamma=when(s.dark, 19, within(s.dark_gamma, 20), 1),
        gain=when(s.dark, 19, within(s.dark_gain, 21), 1),
        sigma=np.where(blurred & ~motion, within(s.blur_sigma, 15), 0.0),
        motion=np.where(blurred & motion, np.rint(within(s.blur_motion, 15)), 0).astype(np.int64),
        motion_down=u[:, 29] < 0.5,
        low_side=_low_side(s, u, size),
        low_down=(u[:, 11] * 5).astype(np.int64),
        low_up=(u[:, 12] * 5).astype(np.int64),
        noise=when(s.noise, 16, within(s.noise_std, 17), 0),
        noise_seed=(u[:, 18] * 2**31).astype(np.int64),
        quality=when(s.jpeg, 30, np.rint(within(s.jpeg_quality, 31)).astype(np.int64), 0),
        plain=np.ones(len(keys), bool),
    )
    for column, p in ((1, s.crop), (6, s.colour), (10, s.low_resolution), (13, s.blur)):
        plan.plain &= u[:, column] >= p
    for column, p in ((16, s.noise), (19, s.dark), (22, s.cover), (30, s.jpeg)):
        plan.plain &= u[:, column] >= p
    return plan


def _cover_colour(u: np.ndarray) -> np.ndarray:
    """Masks of any colour, sunglasses dark."""
    glasses = u[:, 23:24] * COVERS >= COVERS // 2
    return np.floor(u[:, 26:29] * np.where(glasses, 60, 256)).astype(np.uint8)


def _crop(s: Strengths, u: np.ndarray, size: int) -> np.ndarray:
    """Rectangles as torchvision's RandomResizedCrop draws them, sides cut to the image."""
    area = s.crop_area[0] + (s.crop_area[1] - s.crop_area[0]) * u[:, 2]
    low, high = np.log(s.crop_ratio[0]), np.log(s.crop_ratio[1])
    ratio = np.exp(low + (high - low) * u[:, 3])
    width = np.clip(np.rint(size * np.sqrt(area * ratio)), 1, size)
    height = np.clip(np.rint(size * np.sqrt(area / ratio)), 1, size)
    top = np.floor(u[:, 4] * (size - height + 1))
    left = np.floor(u[:, 5] * (size - width + 1))
    box = np.stack([top, top + height, left, left + width], 1).astype(np.int64)
    box[u[:, 1] >= s.crop] = (0, size, 0, size)
    return box


def _low_side(s: Strengths, u: np.ndarray, size: int) -> np.ndarray:
    """Sides from low_side * size, drawn as AdaFace draws them: uniform in the ratio."""
    ratio = s.low_side[0] + (s.low_side[1] - s.low_side[0]) * u[:, 10] / max(s.low_resolution, 1e-9)
    side = np.maximum(np.floor(ratio * size), 1).astype(np.int64)
    return np.where(u[:, 10] < s.low_resolution, side, 0)
