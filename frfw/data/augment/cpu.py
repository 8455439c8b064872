"""Augmentation of single images on the CPU. The one file that knows albumentations.

Its pixel functions are used, not its random transforms: what to do comes from a `Plan`, so that it
depends on the sample's key alone and the device version does the same.
"""

from __future__ import annotations

import os
from functools import lru_cache
from types import ModuleType

import cv2
import numpy as np

from frfw.data.augment.occluders import occluders
from frfw.data.augment.plan import Plan, draw_plan
from frfw.data.augment.strengths import Strengths

INTERPOLATIONS = (
    cv2.INTER_NEAREST,
    cv2.INTER_LINEAR,
    cv2.INTER_AREA,
    cv2.INTER_CUBIC,
    cv2.INTER_LANCZOS4,
)


@lru_cache(maxsize=1)
def _pixel() -> ModuleType:
    """Import albumentations when first used: it takes seconds, and asks the network for news."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations.augmentations.pixel.functional as pixel

    return pixel


class Augment:
    """A preset for images of `size` pixels; picklable."""

    def __init__(self, strengths: Strengths, size: int = 112) -> None:
        self.strengths, self.size = strengths, size

    def plan(self, keys: np.ndarray, size: int | None = None) -> Plan:
        """Draw what happens to the images (of `size` pixels) with these (m,) uint64 keys."""
        return draw_plan(self.strengths, keys, size or self.size)

    def __call__(self, image: np.ndarray, key: int) -> np.ndarray:
        """Augment one uint8 RGB (size, size, 3) image; may return it, never writes to it."""
        return self.apply(image, self.plan(np.array([key], np.uint64), len(image)), 0)

    def apply_all(self, images: np.ndarray, plan: Plan) -> None:
        """Do to each of `images`, uint8 RGB (m, size, size, 3), what its row of the plan says."""
        for row in np.flatnonzero(plan.flip & plan.plain).tolist():
            cv2.flip(images[row], 1, images[row])
        for row in np.flatnonzero(~plan.plain).tolist():
            self.apply(images[row], plan, row, images[row])

    def apply(
        self, image: np.ndarray, plan: Plan, row: int, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Do to `image` what row `row` of the plan says; with `out`, write it there.

        `out` may be `image` itself, which is otherwise not written to.
        """
        plain = plan.plain[row]
        if plan.flip[row]:
            # OpenCV's flip is ten times as fast as copying NumPy's reversed view.
            image = cv2.flip(image, 1, out) if plain else cv2.flip(image, 1)
            if plain:
                return image
        if not plain:
            image = _sensor(_light(_geometry(image, plan, row), plan, row), plan, row)
        if out is not None and out is not image:
            out[...] = image
        return image


def _geometry(image: np.ndarray, plan: Plan, row: int) -> np.ndarray:
    """Cover and crop."""
    size = len(image)
    if plan.cover[row] >= 0:
        down, right = plan.cover_shift[row].tolist()
        shift = np.array([[1, 0, right], [0, 1, down]], np.float32)
        alpha = cv2.warpAffine(occluders(size)[plan.cover[row]], shift, (size, size))[..., None]
        image = (image * (1 - alpha) + plan.cover_colour[row] * alpha + 0.5).astype(np.uint8)
    top, bottom, left, right = plan.crop[row].tolist()
    if bottom - top < size or right - left < size:
        kept = np.zeros_like(image)
        kept[top:bottom, left:right] = image[top:bottom, left:right]
        image = kept
    return image


def _light(image: np.ndarray, plan: Plan, row: int) -> np.ndarray:
    """Brightness, contrast, saturation, low light."""
    if plan.brightness[row] == 1 and plan.gain[row] == 1:
        return image
    pixel = _pixel()
    if plan.brightness[row] != 1:
        image = pixel.adjust_brightness_torchvision(image, float(plan.brightness[row]))
        image = pixel.adjust_contrast_torchvision(image, float(plan.contrast[row]))
        image = pixel.adjust_saturation_torchvision(image, float(plan.saturation[row]))
    if plan.gain[row] != 1:
        image = pixel.gamma_transform(image, float(plan.gamma[row]))
        image = pixel.adjust_brightness_torchvision(image, float(plan.gain[row]))
    return image


def _sensor(image: np.ndarray, plan: Plan, row: int) -> np.ndarray:
    """Blur, low resolution, noise, JPEG."""
    if plan.sigma[row]:
        image = cv2.GaussianBlur(image, (0, 0), float(plan.sigma[row]))
    if plan.motion[row] > 1:
        length = int(plan.motion[row])
        image = cv2.blur(image, (1, length) if plan.motion_down[row] else (length, 1))
    if plan.low_side[row]:
        side, size = int(plan.low_side[row]), len(image)
        small = cv2.resize(image, (side, side), interpolation=INTERPOLATIONS[plan.low_down[row]])
        image = cv2.resize(small, (size, size), interpolation=INTERPOLATIONS[plan.low_up[row]])
    if plan.noise[row]:
        cv2.setRNGSeed(int(plan.noise_seed[row]))
        noise = np.empty(image.shape, np.int16)
        cv2.randn(noise, (0,) * 3, (float(plan.noise[row]),) * 3)
        image = cv2.add(image, noise, dtype=cv2.CV_8U)
    if plan.quality[row]:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(plan.quality[row])]
        _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    return image
