"""Paint a person's skin: colour, unevenness, lips, nostrils, brows, moles, and what age adds."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from frfw.data.synthetic import chart
from frfw.data.synthetic.identity import Identity


def paint_skin(identity: Identity) -> np.ndarray:
    """Return the person's (H, W, 3) float32 sheet in display RGB, without eyes, hair and beard."""
    rng = np.random.default_rng([identity.seed, identity.number, 41])
    sheet = np.zeros((chart.SHEET[1], chart.SHEET[0], 3), np.float32)
    skin = sheet[: chart.SKIN[1], : chart.SKIN[0]]
    red, common = _tints()
    np.multiply(red, np.float32(identity.redness), out=skin)
    skin += 1
    skin *= common
    skin *= _unevenness(identity, rng)[..., None]
    skin *= identity.skin.astype(np.float32)
    if identity.freckles > 0:
        _freckles(skin, identity, rng)
    _marks(sheet, identity)
    _lips(sheet, identity)
    _nostrils(sheet, identity)
    _ears(sheet, identity)
    return sheet


@lru_cache(maxsize=1)
def _tints() -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) float32: how cheeks and nose redden, and the shades that all faces share."""
    red = 0.75 * chart.spot(44, 32, 17, 15) + 0.7 * chart.spot(0, 38, 11, 8)
    red = red + 0.35 * chart.spot(0, 100, 14, 9)
    socket, pale = chart.spot(30, 3, 14, 9), chart.spot(0, -45, 40, 20)
    common = 1 - socket[..., None] * np.array([0.06, 0.1, 0.07], np.float32)
    common = common * (1 + pale[..., None] * np.array([0.03, 0.03, 0.01], np.float32))
    common = common * _ambient()[..., None]
    red = red[..., None] * np.array([0.03, -0.085, -0.075], np.float32)
    return red.astype(np.float32), common.astype(np.float32)


def _unevenness(identity: Identity, rng: np.random.Generator) -> np.ndarray:
    """(H, W) float32 brightness of the skin, about 1: noise of several sizes."""
    width, height = chart.SKIN
    total = np.zeros((2, 2), np.float32)
    for cell, strength in ((40, 0.022), (14, 0.018), (5, 0.014), (2, 0.012)):
        shape = width // cell + 2, height // cell + 2
        noise = rng.standard_normal(shape[::-1], np.float32) * np.float32(strength)
        total = noise + cv2.resize(total, shape, interpolation=cv2.INTER_CUBIC)
    total = cv2.resize(total, chart.SKIN, interpolation=cv2.INTER_LINEAR)
    return 1 + np.float32(identity.mottle) * total


def _freckles(skin: np.ndarray, identity: Identity, rng: np.random.Generator) -> None:
    shown = int(220 * min(1.0, identity.freckles))
    s, t, size = rng.normal(0, 34, 220), rng.normal(26, 20, 220), rng.uniform(0.4, 1.0, 220)
    dots = [chart_circle(s[k], t[k], size[k], 6) for k in range(shown)]
    cover = chart.region(dots, 0.3) * 0.5
    skin += cover[..., None] * (skin * np.array([-0.34, -0.5, -0.6], np.float32))


def chart_circle(s: float, t: float, radius: float, corners: int = 10) -> np.ndarray:
    """(n, 2) corners of a circle on the chart."""
    a = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([s + radius * np.cos(a), t + radius * np.sin(a)], 1)


def _ambient() -> np.ndarray:
    """Where the light from all around does not reach: sockets, under nose, lip and chin, neck."""
    dark = (
        0.24 * chart.spot(19, -2, 8, 8) + 0.10 * chart.spot(34, -7, 14, 5)
        + 0.16 * chart.spot(0, 50, 12, 3.5) + 0.22 * chart.spot(17.5, 43, 2.6, 5)
        + 0.15 * chart.spot(0, 88, 15, 4) + 0.14 * chart.spot(28, 72, 4, 5)
        + 0.10 * chart.spot(0, 57, 3, 4) + 0.05 * chart.spot(12, 22, 4, 12)
    )  # fmt: skip
    s, t = chart.grid()
    under = np.clip((t - 108) / 14, 0, 1) * 0.42 * np.exp(-0.5 * (s / 110) ** 2)
    light = 0.05 * chart.spot(0, 22, 4, 14) + 0.05 * chart.spot(0, 37, 5, 4)
    light = light + 0.04 * chart.spot(46, 18, 12, 6)
    return ((1 - dark) * (1 - under) * (1 + light)).astype(np.float32)


def _marks(sheet: np.ndarray, identity: Identity) -> None:
    for s, t, radius, dark in identity.marks:
        cover = chart.region([chart_circle(s, t, radius)], 0.3) * dark
        chart.blend(sheet, cover, identity.skin * np.array([0.36, 0.27, 0.24]))


def lip_outlines(identity: Identity) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) chart polygons of the upper and the lower lip."""
    up, down, bow, width = identity.lips_form
    s = np.linspace(-1, 1, 33)
    half = 28.0 + 1.2 * width
    top = 7.2 + 1.5 * up
    arch = top * (1 - np.abs(s) ** 1.7) ** 0.85
    arch += (0.9 + 0.5 * bow) * (
        np.exp(-(((np.abs(s) - 0.24) / 0.16) ** 2)) - np.exp(-((s / 0.13) ** 2))
    )
    low = (8.6 + 1.8 * down) * (1 - np.abs(s) ** 2.2) ** 0.8
    line = np.stack([s * half, np.full_like(s, 70.3)], 1)
    upper = np.concatenate([np.stack([s * half, 70.3 - arch], 1), line[::-1]])
    line = np.stack([s * half, np.full_like(s, 73.7)], 1)
    lower = np.concatenate([line, np.stack([s * half, 73.7 + low], 1)[::-1]])
    return upper, lower


def _lips(sheet: np.ndarray, identity: Identity) -> None:
    upper, lower = lip_outlines(identity)
    colour = np.asarray(identity.lips, np.float32)
    chart.blend(sheet, 0.85 * chart.region([upper], 0.5), colour * 0.9)
    chart.blend(sheet, 0.85 * chart.region([lower], 0.5), colour * 1.02)
    chart.blend(sheet, 0.22 * chart.spot(0, 78, 9, 1.6), np.array([255, 235, 230]))
    shadow = 0.5 * chart.spot(0, 70, 17, 1.0) + 0.3 * chart.spot(22, 70.5, 6, 1.2)
    chart.blend(sheet, shadow, 0.2 * colour)
    # The inside of the mouth lies in the slit: dark, with teeth below the upper lip.
    s = np.linspace(-26.5, 26.5, 13)
    slit = np.concatenate([np.stack([s, 0 * s + 70.2], 1), np.stack([s[::-1], 0 * s + 73.8], 1)])
    chart.blend(sheet, chart.region([slit]), np.array([52, 18, 20]))
    s = np.linspace(-16, 16, 9)
    teeth = np.concatenate([np.stack([s, 0 * s + 70.5], 1), np.stack([s[::-1], 0 * s + 71.9], 1)])
    chart.blend(sheet, 0.9 * chart.region([teeth]), np.array([224, 216, 200]))


def _nostrils(sheet: np.ndarray, identity: Identity) -> None:
    a = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    hole = np.stack([8.0 + 4.0 * np.cos(a), 45.6 + 1.7 * np.sin(a) - 0.8 * np.cos(a)], 1)
    cover = chart.region([hole, chart.mirrored(hole)], 0.5)
    chart.blend(sheet, 0.88 * cover, identity.skin * np.array([0.25, 0.16, 0.15]))


def _ears(sheet: np.ndarray, identity: Identity) -> None:
    x, y, w, h = chart.EAR
    yy, xx = np.mgrid[0:h, 0:w].astype(np.float32)
    u, v = (xx - w / 2) / (w / 2), (yy - h / 2) / (h / 2)
    r = np.sqrt(u * u + v * v)
    tone = 0.95 + 0.09 * np.exp(-(((r - 0.92) / 0.1) ** 2))
    # The groove below the rim runs around the top, the hollow leads to the ear's canal in front.
    tone -= 0.3 * np.exp(-(((r - 0.72) / 0.09) ** 2)) * np.clip(0.35 - 0.8 * v + 0.5 * u, 0, 1)
    tone -= 0.36 * np.exp(-(((u + 0.12) / 0.3) ** 2) - ((v - 0.12) / 0.34) ** 2)
    tone -= 0.3 * np.exp(-(((u + 0.42) / 0.14) ** 2) - ((v - 0.16) / 0.14) ** 2)
    colour = identity.skin * np.array([1.02, 0.93, 0.93])
    sheet[y : y + h, x : x + w] = tone[..., None] * colour


def wrinkles(identity: Identity) -> np.ndarray:
    """(H, W) float32 darkening, 0 to about 1, that full age lays over the skin."""
    rng = np.random.default_rng([identity.seed, identity.number, 43])
    lines: list[tuple[np.ndarray, int]] = []
    s = np.linspace(-1, 1, 15)
    for t in (-62, -52, -42, -33):
        t = t + rng.normal(0, 2)
        wave = t + 2.5 * rng.normal() * s**2 + 1.5 * np.sin(3 * s + rng.uniform(0, 6))
        lines.append((np.stack([s * rng.uniform(24, 40), wave], 1), 1))
    bend = np.linspace(0, 1, 10)
    deep = [
        np.stack([17 + 14 * bend**0.8, 42 + 27 * bend], 1),  # from nose to mouth
        np.stack([28 + 4 * bend, 76 + 18 * bend], 1),  # from mouth to jaw
        np.stack([6 + 1.5 * bend, -22 + 14 * bend], 1),  # between the brows
        np.stack([19 + 25 * bend, 9 + 7 * np.sin(np.pi * bend * 0.9)], 1),  # below the eyes
    ]
    fine = [np.stack([49 + 12 * bend, k * 4 + (k * 3.5) * bend], 1) for k in (-1.2, 0.2, 1.5)]
    fine.append(np.stack([22 + 22 * bend, 13 + 6 * np.sin(np.pi * bend)], 1))
    for group, width in ((deep, 2), (fine, 1)):
        for line in group:
            line = line + rng.normal(0, 0.8, 2)
            lines += [(line, width), (chart.mirrored(line), width)]
    sharp = chart.strokes(lines, 0.7)
    soft = chart.strokes(lines[4:], 2.6)
    spots = rng.normal(0, 1, (40, 38)).astype(np.float32)
    spots = cv2.resize(np.maximum(spots - 1.3, 0), chart.SKIN, interpolation=cv2.INTER_CUBIC)
    return 0.62 * sharp + 0.55 * soft + 0.25 * np.clip(spots, 0, 1)
