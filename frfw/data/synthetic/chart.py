"""The texture sheet: where skin, hair, ears and clothes lie on it, and brushes to paint with.

The skin's part is the chart of the head at `SCALE` pixels a millimetre; to its right lies a strip
of hair, then small patches for ears and what is worn.
"""

from __future__ import annotations

import cv2
import numpy as np

SCALE = 1.25
S_MAX, T_MIN, T_MAX = 150.0, -118.0, 202.0
SKIN = (int(2 * S_MAX * SCALE) + 1, int((T_MAX - T_MIN) * SCALE))  # width, height
HAIR = (SKIN[0] + 2, 0, 80, 220)  # x, y, width, height
_PATCH_X = HAIR[0] + HAIR[2] + 2
EAR = (_PATCH_X, 0, 48, 72)
MASK = (_PATCH_X, 76, 48, 48)
CAP = (_PATCH_X, 128, 48, 48)
VISOR = (_PATCH_X, 180, 48, 32)
CLOTH = (_PATCH_X, 216, 48, 48)
SHEET = (_PATCH_X + 50, SKIN[1])  # width, height

_BITS = 4


def to_sheet(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(n,) chart coordinates (mm) -> (n, 2) float32 pixels of the skin's part."""
    x = (np.clip(s, -S_MAX, S_MAX) + S_MAX) * SCALE
    y = (np.clip(t, T_MIN, T_MAX - 2) - T_MIN) * SCALE
    return np.stack([x, y], -1).astype(np.float32)


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Return s (1, W) and t (H, 1) of the skin's pixels, float32."""
    s = np.arange(SKIN[0], dtype=np.float32)[None] / SCALE - S_MAX
    t = np.arange(SKIN[1], dtype=np.float32)[:, None] / SCALE + T_MIN
    return s, t


def spot(s0: float, t0: float, ss: float, st: float, mirror: bool = True) -> np.ndarray:
    """(H, W) float32 Gaussian spot on the skin, mirrored where s0 is not zero."""
    s, t = grid()
    across = np.exp(-0.5 * ((s - s0) / ss) ** 2)
    if mirror and s0:
        across = across + np.exp(-0.5 * ((s + s0) / ss) ** 2)
    return across * np.exp(-0.5 * ((t - t0) / st) ** 2)


def region(points: list[np.ndarray], soften: float = 0.0) -> np.ndarray:
    """(H, W) float32 coverage, 0 to 1, of polygons in chart coordinates ((n, 2) each)."""
    mask = np.zeros((SKIN[1], SKIN[0]), np.uint8)
    for polygon in points:
        cv2.fillPoly(mask, [_fixed(polygon)], 255, cv2.LINE_AA, _BITS)
    if soften:
        mask = cv2.GaussianBlur(mask, (0, 0), soften * SCALE)
    return mask.astype(np.float32) / 255.0


def strokes(lines: list[tuple[np.ndarray, int]], soften: float = 0.0) -> np.ndarray:
    """(H, W) float32 coverage of lines ((n, 2) chart points, width in sheet pixels)."""
    mask = np.zeros((SKIN[1], SKIN[0]), np.uint8)
    for line, width in lines:
        cv2.polylines(mask, [_fixed(line)], False, 255, width, cv2.LINE_AA, _BITS)
    if soften:
        mask = cv2.GaussianBlur(mask, (0, 0), soften * SCALE)
    return mask.astype(np.float32) / 255.0


def mirrored(line: np.ndarray) -> np.ndarray:
    """The same chart points on the other side of the face."""
    return line * np.array([-1.0, 1.0])


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(to_sheet(points[:, 0], points[:, 1]) * (1 << _BITS)).astype(np.int32)


def blend(sheet: np.ndarray, cover: np.ndarray, colour: np.ndarray) -> None:
    """Paint ``colour`` (3,) over the skin's part of a float sheet, in place, by (H, W) cover."""
    rows = np.flatnonzero(cover.max(axis=1) > 0.003)
    columns = np.flatnonzero(cover.max(axis=0) > 0.003)
    if len(rows) and len(columns):
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        part = sheet[box]
        part += cover[box][..., None] * (np.asarray(colour, np.float32) - part)
