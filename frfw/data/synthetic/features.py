"""Paint what changes from picture to picture on the skin: eyes, brows' hair, beard, make-up."""

from __future__ import annotations

import cv2
import numpy as np

from frfw.data.synthetic import chart
from frfw.data.synthetic.conditions import Conditions
from frfw.data.synthetic.identity import Identity

_PATCH = 44, 26  # half width and half height of the eye's patch in sheet pixels
_BITS = 4
_FINE = 2  # eyes are painted at twice the sheet's resolution


def brow_cover(identity: Identity) -> np.ndarray:
    """(H, W) float32 coverage of the person's eyebrows."""
    rng = np.random.default_rng([identity.seed, identity.number, 47])
    thick, arch, inner, outer, strength, slope = identity.brow
    u = np.linspace(0, 1, 14)
    s = inner + (outer - inner) * u
    middle = -15.5 - arch * np.sin(np.pi * np.minimum(u / 0.68, 1.0) * 0.5) ** 2
    middle += arch * 0.9 * np.clip((u - 0.62) / 0.38, 0, 1) ** 1.5 + slope * (u - 0.5)
    half = 0.5 * thick * (0.75 + 0.5 * np.sin(np.pi * (0.15 + 0.6 * u))) * (1 - 0.75 * u**4)
    body = np.concatenate([np.stack([s, middle - half], 1), np.stack([s, middle + half], 1)[::-1]])
    hairs = []
    for k in range(26):
        v = (k + rng.random()) / 26
        i = v * 13
        at = np.array([np.interp(i, np.arange(14), s), np.interp(i, np.arange(14), middle)])
        reach = np.interp(i, np.arange(14), half)
        lean = np.array([1.6 + 2.4 * v, -1.5 + 2.6 * v]) * 0.9
        start = at + np.array([0, rng.uniform(-0.9, 0.9) * reach])
        hairs.append((np.stack([start - lean, start + lean]), 1))
    both = [body, chart.mirrored(body)]
    lines = hairs + [(chart.mirrored(line), w) for line, w in hairs]
    cover = 0.72 * chart.region(both, 0.5) + 0.4 * chart.strokes(lines, 0.25)
    return np.clip(cover * strength, 0, 0.95)


def beard_cover(style: str, variant: int) -> np.ndarray:
    """(H, W) float32 coverage of a beard by name of `BEARDS`."""
    s, t = chart.grid()
    if style == "none":
        return np.zeros((chart.SKIN[1], chart.SKIN[0]), np.float32)
    rng = np.random.default_rng([variant, 53])
    wide = np.abs(s)
    moustache = np.exp(-0.5 * ((wide - 12) / 12) ** 4) * np.exp(-0.5 * ((t - 58.5) / 4.0) ** 2)
    chin = np.exp(-0.5 * (s / 21) ** 4) * np.clip((t - 84) / 5, 0, 1)
    jaw_line = np.interp(wide, [0, 28, 36, 60, 80, 95], [86, 84, 60, 48, 14, 5])
    jaw = np.clip((t - jaw_line) / 7, 0, 1) * np.clip((100 - wide) / 8, 0, 1)
    end = np.clip((126 - t) / 8, 0, 1)
    cover = {
        "stubble": 0.5 * np.maximum(np.maximum(jaw, chin), moustache),
        "moustache": 0.95 * moustache,
        "goatee": 0.92 * np.maximum(moustache * 0.9, chin * np.clip((24 - wide) / 4, 0, 1)),
        "full": 0.93 * np.maximum(np.maximum(jaw, chin), moustache),
    }[style] * end
    grain = rng.normal(0, 1, (chart.SKIN[1] // 2, chart.SKIN[0] // 2)).astype(np.float32)
    grain = cv2.resize(grain, chart.SKIN, interpolation=cv2.INTER_LINEAR)
    return np.clip(cover * (0.88 + 0.25 * grain), 0, 0.96).astype(np.float32)


def paint_eyes(sheet: np.ndarray, identity: Identity, c: Conditions, skin_tone: float) -> None:
    """Paint both eyes into a uint8 sheet, in place.

    Args:
        sheet: (H, W, 3) uint8 sheet.
        identity: lids, iris.
        c: blink, gaze, squint, make-up, age.
        skin_tone: brightness of the skin, 0 to 1; lids and whites follow it.
    """
    for side in (-1, 1):
        centre = chart.to_sheet(np.array(32.0 * side), np.array(0.0))
        x0, y0 = int(centre[0]) - _PATCH[0] // 2, int(centre[1]) - _PATCH[1] // 2
        patch = sheet[y0 : y0 + _PATCH[1], x0 : x0 + _PATCH[0]]
        fine = cv2.resize(patch, None, fx=_FINE, fy=_FINE, interpolation=cv2.INTER_LINEAR)
        middle = (centre - [x0, y0] + 0.5) * _FINE - 0.5
        _eye(fine, middle, side, identity, c)
        patch[:] = cv2.resize(fine, (_PATCH[0], _PATCH[1]), interpolation=cv2.INTER_AREA)


def _lid_lines(identity: Identity, c: Conditions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x from the inner to the outer corner (mm) and the upper and lower lid's y there."""
    opening = identity.lid[4]
    x = np.linspace(-1, 1, 17)
    wide = 1 - 0.14 * c.squint - 0.12 * c.smile + 0.2 * c.brow_up
    open_ = max(0.02, (1 - c.blink) * opening * wide)
    upper = -5.7 * open_ * (1 - np.abs(x + 0.12) ** 2.3 / 1.12**2.3) ** 0.75
    upper = np.nan_to_num(upper) + 1.6 * (1 - open_) * (1 - x**2)
    lower = 4.0 * min(open_, 1.1) ** 0.5 * (1 - np.abs(x - 0.1) ** 2.2 / 1.1**2.2)
    lower = np.maximum(np.nan_to_num(lower), upper + 0.15)
    return x, upper, lower


def _eye(
    patch: np.ndarray, middle: np.ndarray, side: int, identity: Identity, c: Conditions
) -> None:
    px = chart.SCALE * _FINE
    x, upper, lower = _lid_lines(identity, c)
    hw = 14.6

    def fixed(xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        points = np.stack([middle[0] + side * xs * px, middle[1] + ys * px], 1)
        return np.round(points * (1 << _BITS)).astype(np.int32)

    opening = fixed(np.concatenate([x, x[::-1]]) * hw, np.concatenate([upper, lower[::-1]]))
    mask = np.zeros(patch.shape[:2], np.uint8)
    cv2.fillPoly(mask, [opening], 255, cv2.LINE_AA, _BITS)
    ball = np.empty_like(patch)
    ball[:] = (222, 214, 208)
    at = middle + np.array([c.gaze[0] * 4.2, c.gaze[1] * 2.4 - 0.5]) * px
    spot = tuple(int(v) for v in np.round(at * (1 << _BITS)))
    radius = identity.lid[3] * px

    def disc(r: float, colour: np.ndarray) -> None:
        shade = tuple(int(v) for v in np.clip(colour, 0, 255))
        cv2.circle(ball, spot, int(r * (1 << _BITS)), shade, -1, cv2.LINE_AA, _BITS)

    disc(radius, identity.eyes * 0.45)
    disc(radius * 0.86, identity.eyes)
    disc(radius * 0.62, identity.eyes * 1.12)
    disc(radius * 0.42, np.array([12, 10, 10]))
    glint = at + np.array([0.9, -1.7]) * px
    cv2.circle(ball, tuple(int(v) for v in np.round(glint * (1 << _BITS))),
               int(0.95 * px * (1 << _BITS)), (250, 250, 250), -1, cv2.LINE_AA, _BITS)  # fmt: skip
    # The upper lid throws a shadow on the ball.
    cv2.polylines(ball, [fixed(x * hw, upper + 0.8)], False, (120, 104, 98), int(1.2 * px))
    ball = cv2.GaussianBlur(ball, (0, 0), 0.8)
    cover = mask[..., None].astype(np.float32) / 255.0
    lid = patch.astype(np.float32)
    crease, lash, hood, _, _ = identity.lid
    lid = _lines_of_the_lid(lid, fixed, x, upper, lower, hw, crease, hood)
    out = lid + cover * (ball - lid)
    weight = np.zeros(patch.shape[:2], np.uint8)
    thick = 1.1 + 1.0 * lash + 1.1 * c.makeup
    cv2.polylines(weight, [fixed(x * hw, upper - 0.2)], False, 255, max(1, round(thick * px / 2)),
                  cv2.LINE_AA, _BITS)  # fmt: skip
    tail = fixed(np.array([0.85, 1.0, 1.13]) * hw, np.array([upper[-2], 0.0, -1.2 - c.makeup]))
    cv2.polylines(weight, [tail], False, 200, max(1, round(thick * px / 3)), cv2.LINE_AA, _BITS)
    cv2.polylines(weight, [fixed(x * hw, lower + 0.2)], False, 95, 1, cv2.LINE_AA, _BITS)
    dark = weight[..., None].astype(np.float32) * ((0.6 + 0.3 * lash) / 255.0)
    out += np.minimum(dark, 0.95) * (np.array([28, 20, 18], np.float32) - out)
    np.clip(out, 0, 255, out=out)
    patch[:] = out


def _lines_of_the_lid(
    lid: np.ndarray, fixed, x: np.ndarray, upper: np.ndarray, lower: np.ndarray, hw: float,
    crease: float, hood: float,
) -> np.ndarray:  # fmt: skip
    """Darken the crease above the eye and the fold below it."""
    line = np.zeros(lid.shape[:2], np.uint8)
    rise = upper * 0.9 - crease * (1 - 0.6 * hood) * (1 - x**4) - 0.4
    cv2.polylines(line, [fixed(x * hw * 1.04, rise)], False, int(150 * (1 - 0.7 * hood)), 3,
                  cv2.LINE_AA, _BITS)  # fmt: skip
    cv2.polylines(line, [fixed(x * hw * 0.95, lower + 3.0)], False, 50, 2, cv2.LINE_AA, _BITS)
    line = cv2.GaussianBlur(line, (0, 0), 1.4)
    return lid * (1 - 0.5 * line[..., None].astype(np.float32) / 255.0)
