"""Face masks and sunglasses as alpha maps on the five-point template."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from frfw.data.augment.plan import COVERS

# In units of the crop's side, for the 112-pixel template: eyes at y = 0.46, mouth at y = 0.82.
_EYES, _EYE_Y = (0.342, 0.656), 0.461


@lru_cache(maxsize=4)
def occluders(size: int) -> np.ndarray:
    """Return (COVERS, size, size) float32 alphas 0..1, soft at the edge."""
    maps = []
    for number in range(COVERS):
        half = COVERS // 2
        drawing = np.zeros((4 * size, 4 * size), np.uint8)
        if number < half:
            _mask(drawing, number / max(half - 1, 1))
        else:
            _sunglasses(drawing, (number - half) / max(half - 1, 1))
        maps.append(cv2.resize(drawing, (size, size), interpolation=cv2.INTER_AREA))
    return np.stack(maps).astype(np.float32) / 255


def _mask(drawing: np.ndarray, form: float) -> None:
    """A surgical mask over nose and mouth with ear loops; `form` 0..1 goes from low to high."""
    side, top = len(drawing), 0.60 - 0.06 * form
    outline = [
        (0.10, top + 0.07),
        (0.30, top + 0.02),
        (0.50, top - 0.05 * form),
        (0.70, top + 0.02),
        (0.90, top + 0.07),
        (0.86, 0.86),
        (0.70, 1.0),
        (0.30, 1.0),
        (0.14, 0.86),
    ]
    cv2.fillPoly(drawing, [_points(outline, side)], 255)
    for edge in (0.0, 1.0):
        start = _points([(0.12 + 0.76 * edge, top + 0.08)], side)[0]
        end = _points([(edge, top - 0.10)], side)[0]
        cv2.line(drawing, start.tolist(), end.tolist(), 255, max(1, side // 60))


def _sunglasses(drawing: np.ndarray, form: float) -> None:
    """Two lenses with bridge and temples; `form` 0..1 goes from small and round to large."""
    side = len(drawing)
    axes = (round(side * (0.11 + 0.05 * form)), round(side * (0.085 + 0.025 * form)))
    for x in _EYES:
        centre = (round(side * x), round(side * (_EYE_Y + 0.01)))
        cv2.ellipse(drawing, centre, axes, 0, 0, 360, 255, -1)
    y = round(side * (_EYE_Y - 0.01))
    cv2.line(drawing, (0, y - side // 50), (side - 1, y - side // 50), 255, max(1, side // 45))


def _points(units: list[tuple[float, float]], side: int) -> np.ndarray:
    return np.rint(np.array(units) * side).astype(np.int32)
