"""Graded changes to face images: what crops, cameras and networks do to them in practice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from frfw.errors import FrfwError, nearest

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Change:
    """One kind of change.

    Attributes:
        name: in tables and files.
        unit: of the strengths.
        strengths: graded, from mild to strong.
        apply: (image (H, W, 3) uint8 RGB, strength, generator) to the changed image.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    apply: Callable[[Image, float, np.random.Generator], Image]


def _warp(image: Image, matrix: NDArray[np.float64]) -> Image:
    height, width = image.shape[:2]
    return cv2.warpAffine(
        image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def shift(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Move by `strength` of the side, in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    dx, dy = strength * image.shape[0] * np.array([np.cos(angle), np.sin(angle)])
    return _warp(image, np.array([[1, 0, dx], [0, 1, dy]]))


def rotation(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Turn in the plane by `strength` degrees, to either side."""
    centre = (image.shape[1] / 2 - 0.5, image.shape[0] / 2 - 0.5)
    return _warp(image, cv2.getRotationMatrix2D(centre, strength * rng.choice((-1, 1)), 1.0))


def scale(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Enlarge (above 1) or shrink (below 1) about the centre."""
    centre = (image.shape[1] / 2 - 0.5, image.shape[0] / 2 - 0.5)
    return _warp(image, cv2.getRotationMatrix2D(centre, 0, strength))


def blur(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Gaussian blur with a sigma of `strength` pixels (of a 112-pixel face)."""
    return cv2.GaussianBlur(image, (0, 0), strength * image.shape[0] / 112)


def noise(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Gaussian noise of `strength` grey levels on every channel."""
    noisy = image + rng.normal(0, strength, image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def jpeg(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Compress with JPEG quality `strength`."""
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(strength)])
    if not done:
        raise FrfwError(f"cannot compress an image of shape {image.shape}")
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def low_resolution(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Shrink the face to `strength` pixels a side and enlarge it again."""
    side = max(1, int(strength))
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def occlusion(image: Image, strength: float, rng: np.random.Generator) -> Image:
    """Cover a square of `strength` of the area, placed at random, with mid grey."""
    height, width = image.shape[:2]
    side = round(np.sqrt(strength) * min(height, width))
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    covered = image.copy()
    covered[top : top + side, left : left + side] = 128
    return covered


CHANGES = {
    change.name: change
    for change in (
        Change("shift", "of the side", (0.03, 0.06, 0.1, 0.15), shift),
        Change("rotation", "degrees", (5, 10, 20, 30), rotation),
        Change("scale", "times", (0.95, 1.1, 0.85, 1.25), scale),  # graded by |log|
        Change("blur", "sigma, pixels", (0.5, 1, 2, 3), blur),
        Change("noise", "grey levels", (5, 10, 20, 40), noise),
        Change("jpeg", "quality", (50, 30, 15, 5), jpeg),
        Change("low_resolution", "pixels a side", (56, 28, 20, 14), low_resolution),
        Change("occlusion", "of the area", (0.05, 0.1, 0.2, 0.3), occlusion),
    )
}


def chosen_changes(names: list[str] | None) -> list[Change]:
    """Return the changes of these names, or all; FrfwError with the nearest right name."""
    for name in names or ():
        if name not in CHANGES:
            raise FrfwError(
                f"there is no change {name!r}.{nearest(name, CHANGES)} Choose {', '.join(CHANGES)}"
            )
    return [CHANGES[name] for name in names or CHANGES]
