"""Augmentation presets by name. Each is a function of the image and one 64-bit key."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from frfw.errors import FrfwError, nearest

Augment = Callable[[np.ndarray, int], np.ndarray]
"""(uint8 RGB (H, W, 3), key) -> the same shape and type; may return a view, never writes to it."""


class Flip:
    """Mirror left-right half of the time."""

    def __call__(self, image: np.ndarray, key: int) -> np.ndarray:
        return image[:, ::-1] if key & 1 else image


PRESETS = ("none", "flip")


def create_augment(name: str | None, size: int = 112) -> Augment | None:
    """Return the preset `name`, None for "none".

    Raises:
        FrfwError: no such preset.
    """
    if name is None or name == "none":
        return None
    if name == "flip":
        return Flip()
    raise FrfwError(
        f"there is no augmentation {name!r}.{nearest(name, PRESETS)} Choose {', '.join(PRESETS)}"
    )
