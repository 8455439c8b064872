"""Compose the texture sheet of one picture from what a person's pictures share."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from frfw.data.synthetic import chart
from frfw.data.synthetic.conditions import Conditions
from frfw.data.synthetic.eyes import paint_eyes
from frfw.data.synthetic.face_hair import beard_cover, brow_cover
from frfw.data.synthetic.hair import paint_hair
from frfw.data.synthetic.identity import Identity
from frfw.data.synthetic.skin import lip_outlines, paint_skin, wrinkles


def _box(s: float, t_low: float, t_high: float) -> tuple[slice, slice]:
    """Rows and columns of the skin between two heights and s to either side."""
    corners = chart.to_sheet(np.array([-s, s]), np.array([t_low, t_high]))
    (x0, y0), (x1, y1) = corners.astype(int)
    return slice(y0, y1), slice(x0, x1)


_AGED = _box(112, -76, 128)
_BROWS = _box(64, -34, -3)
_BEARD = _box(104, 0, 130)
_LIPS = _box(34, 56, 90)


class PersonSheets:
    """What all sheets of a person share, painted once."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.base = np.clip(paint_skin(identity), 0, 255).astype(np.uint8)
        self.aged = np.clip(wrinkles(identity)[_AGED] * 255, 0, 255).astype(np.uint8)
        self.brows = np.ascontiguousarray(brow_cover(identity)[_BROWS], np.float32)
        upper, lower = lip_outlines(identity)
        self.lips = chart.region([upper, lower], 0.6)[_LIPS]
        self.strands: dict[int, np.ndarray] = {}

    def compose(self, c: Conditions, years_old: float) -> np.ndarray:
        """Return the (H, W, 3) uint8 sheet of a picture.

        Args:
            c: the picture's conditions.
            years_old: 0 young to 1 old.
        """
        person = self.identity
        sheet = self.base.copy()
        if years_old > 0.02:
            factor = 255 - cv2.convertScaleAbs(self.aged, alpha=0.75 * years_old)
            part = sheet[_AGED]
            sheet[_AGED] = cv2.multiply(
                part, cv2.cvtColor(factor, cv2.COLOR_GRAY2RGB), scale=1 / 255
            )
        hair = hair_colour(person, c.age)
        _mix(sheet, _BROWS, self.brows, hair * 0.62 + 4)
        if c.makeup > 0.05:
            rouge = person.lips * np.array([1.02, 0.62, 0.66])
            _mix(sheet, _LIPS, self.lips * (0.75 * c.makeup), rouge)
        if c.beard != "none":
            _mix(sheet, _BEARD, _beard(c.beard, c.hair_variant % 4), hair * 0.78)
        paint_eyes(sheet, person, c)
        self._hair(sheet, hair, c)
        _wear(sheet, c)
        return sheet

    def _hair(self, sheet: np.ndarray, colour: np.ndarray, c: Conditions) -> None:
        key = c.hair_variant % 4
        if key not in self.strands:
            self.strands[key] = paint_hair(self.identity, key)
        x, y, w, h = chart.HAIR
        strip = self.strands[key][..., None] * colour.astype(np.float32)
        sheet[y : y + h, x : x + w] = np.minimum(strip, 255)


def hair_colour(person: Identity, age: float) -> np.ndarray:
    """(3,) float display RGB of the hair at an age (years): grey comes from about 40 on."""
    grey = np.clip((age * person.ageing - 38) / 32, 0, 0.92)
    return person.hair + grey * (np.array([176.0, 174, 172]) - person.hair)


@lru_cache(maxsize=16)
def _beard(style: str, variant: int) -> np.ndarray:
    return np.ascontiguousarray(beard_cover(style, variant)[_BEARD])


def _mix(
    sheet: np.ndarray, box: tuple[slice, slice], cover: np.ndarray, colour: np.ndarray
) -> None:
    part = sheet[box].astype(np.float32)
    part += cover[..., None] * (np.clip(colour, 0, 255).astype(np.float32) - part)
    sheet[box] = part


def _wear(sheet: np.ndarray, c: Conditions) -> None:
    """Paint clothes, and cap and mask where they are worn."""
    rng = np.random.default_rng([c.detail_seed, 71])
    _patch(sheet, chart.CLOTH, rng.uniform(10, 240, 3), rng)
    colour = np.array(c.wear_colour)
    if c.cap:
        _patch(sheet, chart.CAP, colour, rng)
        _patch(sheet, chart.VISOR, colour * rng.uniform(0.5, 1.0), rng)
        x, y, w, h = chart.CAP
        if rng.random() < 0.5:
            badge = tuple(int(v) for v in rng.uniform(20, 240, 3))
            cv2.circle(sheet, (x + w // 2, y + int(h * 0.62)), 4, badge, -1, cv2.LINE_AA)
    if c.mask:
        _patch(sheet, chart.MASK, colour, rng)
        x, y, w, h = chart.MASK
        for k in (0.35, 0.5, 0.65):
            sheet[y + int(h * k), x + 4 : x + w - 4] = np.clip(colour * 0.82, 0, 255)


def _patch(
    sheet: np.ndarray, box: tuple[int, int, int, int], colour: np.ndarray, rng: np.random.Generator
) -> None:
    x, y, w, h = box
    grain = rng.normal(1, 0.04, (h, w, 1))
    if rng.random() < 0.25:
        grain = grain + 0.25 * np.sin(np.arange(h) * rng.uniform(0.6, 1.6))[:, None, None]
    sheet[y : y + h, x : x + w] = np.clip(grain * colour, 0, 255)
