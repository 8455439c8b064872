"""Paint the eyes, which change from picture to picture: lids, gaze, lashes, make-up."""

from __future__ import annotations

import cv2
import numpy as np

from frfw.data.synthetic import chart
from frfw.data.synthetic.conditions import Conditions
from frfw.data.synthetic.identity import Identity

_WIDTH, _HEIGHT = 44, 26  # of an eye's patch in sheet pixels
_FINE = 2  # eyes are painted at twice the sheet's resolution
_PX = chart.SCALE * _FINE
_BITS = 4
_HALF = 14.6  # half the length of an eye, mm
_MIDDLE = chart.to_sheet(np.array(32.0), np.array(0.0))
_CORNER = _MIDDLE.astype(int) - (_WIDTH // 2, _HEIGHT // 2)
_AT = (_MIDDLE - _CORNER + 0.5) * _FINE - 0.5  # the eye's middle in the fine patch
_INK = np.array([28, 20, 18], np.float32)


def paint_eyes(sheet: np.ndarray, person: Identity, c: Conditions) -> None:
    """Paint both eyes into a (H, W, 3) uint8 sheet, in place."""
    opening, shadow, lash = _masks(person, c)
    for side in (1, -1):
        x0, y0 = int(_CORNER[0]), int(_CORNER[1])
        if side < 0:
            # The other eye is the mirror image: its patch lies mirrored on the sheet.
            x0 = chart.SKIN[0] - x0 - _WIDTH
            opening, shadow, lash = (cv2.flip(m, 1) for m in (opening, shadow, lash))
        patch = sheet[y0 : y0 + _HEIGHT, x0 : x0 + _WIDTH]
        size = (_WIDTH * _FINE, _HEIGHT * _FINE)
        fine = cv2.resize(patch, size, interpolation=cv2.INTER_LINEAR)
        fine = cv2.multiply(fine, cv2.cvtColor(shadow, cv2.COLOR_GRAY2RGB), scale=1 / 255)
        np.copyto(fine, _ball(person, c, side), where=opening[..., None] > 0)
        fine = cv2.resize(fine, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
        dark = cv2.resize(lash, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
        weight = dark[..., None].astype(np.float32) * np.float32(1 / 255)
        patch[:] = fine + weight * (_INK - fine)


def _lid_lines(person: Identity, c: Conditions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x from the inner to the outer corner (-1 to 1) and the upper and lower lid's y there (mm)."""
    x = np.linspace(-1, 1, 17)
    wide = 1 - 0.14 * c.squint - 0.12 * c.smile + 0.2 * c.brow_up
    opened = max(0.02, (1 - c.blink) * float(person.lid[4]) * wide)
    arch = np.maximum(1 - np.abs((x + 0.12) / 1.12) ** 2.3, 0) ** 0.75
    upper = -5.7 * opened * arch + 1.6 * (1 - opened) * (1 - x**2)
    lower = 4.0 * min(opened, 1.1) ** 0.5 * (1 - np.abs((x - 0.1) / 1.1) ** 2.2)
    return x, upper, np.maximum(lower, upper + 0.15)


def _masks(person: Identity, c: Conditions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """uint8 masks of the right eye's fine patch: opening, brightness of the lids, lashes."""
    crease, lash, hood = (float(v) for v in person.lid[:3])
    x, upper, lower = _lid_lines(person, c)
    shape = (_HEIGHT * _FINE, _WIDTH * _FINE)
    opening, ink = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    shadow = np.full(shape, 255, np.uint8)
    around = np.concatenate([x, x[::-1]])
    cv2.fillPoly(opening, [_fixed(around, np.concatenate([upper, lower[::-1]]))], 255, 8, _BITS)
    rise = upper * 0.9 - crease * (1 - 0.6 * hood) * (1 - x**4) - 0.4
    deep = 255 - int(75 * (1 - 0.7 * hood))
    cv2.polylines(shadow, [_fixed(1.04 * x, rise)], False, deep, 3, 8, _BITS)
    cv2.polylines(shadow, [_fixed(0.95 * x, lower + 3.0)], False, 230, 2, 8, _BITS)
    shadow = cv2.GaussianBlur(shadow, (0, 0), 1.4)
    full = min(0.95, 0.6 + 0.3 * lash)
    thick = (1.1 + lash + 1.1 * c.makeup) * _PX
    line = [_fixed(x, upper - 0.2)]
    cv2.polylines(ink, line, False, int(255 * full), max(1, round(thick / 2)), 8, _BITS)
    tail = [_fixed(np.array([0.85, 1, 1.13]), np.array([upper[-2], 0, -1.2 - c.makeup]))]
    cv2.polylines(ink, tail, False, int(200 * full), max(1, round(thick / 3)), 8, _BITS)
    cv2.polylines(ink, [_fixed(x, lower + 0.2)], False, int(95 * full), 1, 8, _BITS)
    return opening, shadow, ink


def _fixed(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Corners (x in half lengths, y in mm from the middle) as OpenCV's fixed-point pixels."""
    points = np.empty((len(x), 2))
    points[:, 0] = _AT[0] + x * (_HALF * _PX)
    points[:, 1] = _AT[1] + y * _PX
    return np.rint(points * (1 << _BITS)).astype(np.int32)


def _ball(person: Identity, c: Conditions, side: int) -> np.ndarray:
    """(h, w, 3) uint8 fine patch of the eyeball: white, iris, pupil, a glint, the lid's shadow."""
    ball = np.empty((_HEIGHT * _FINE, _WIDTH * _FINE, 3), np.uint8)
    ball[:] = (222, 214, 208)
    ball[: int(_AT[1] - 1.5 * _PX)] = (196, 184, 178)
    x0 = _AT[0] if side > 0 else _WIDTH * _FINE - 1 - _AT[0]
    at = np.array([x0, _AT[1]]) + np.array([c.gaze[0] * 4.2, c.gaze[1] * 2.4 - 0.5]) * _PX
    radius = float(person.lid[3]) * _PX
    eyes = person.eyes
    for part, colour in ((1, eyes * 0.45), (0.86, eyes), (0.62, eyes * 1.12), (0.42, eyes * 0.1)):
        _disc(ball, at, radius * part, np.clip(colour, 8, 255))
    _disc(ball, at + np.array([0.9, -1.7]) * _PX, 0.95 * _PX, np.full(3, 250.0))
    return ball


def _disc(picture: np.ndarray, at: np.ndarray, radius: float, colour: np.ndarray) -> None:
    centre = (round(at[0] * (1 << _BITS)), round(at[1] * (1 << _BITS)))
    shade = tuple(int(v) for v in colour)
    cv2.circle(picture, centre, round(radius * (1 << _BITS)), shade, -1, 8, _BITS)
