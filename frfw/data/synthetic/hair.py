"""Hair as shells around the head: a cap of hair over the scalp, a curtain where it is long."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from frfw.data.synthetic import chart
from frfw.data.synthetic.conditions import Conditions
from frfw.data.synthetic.head import RADIUS, grid_triangles, head_model, smoothstep
from frfw.data.synthetic.identity import Identity

if TYPE_CHECKING:
    from frfw.data.synthetic.surfaces import Surface

VARIANTS = 6  # of the details of a style

# thickness on top, at the sides, at the back (mm), how far the fringe comes down (mm), how far the
# hairline is moved back (mm), end of the curtain (t, 0 for none)
_STYLES = {
    "short": (15, 5, 8, 4, 0, 0),
    "crop": (4, 2.5, 3, 0, 0, 0),
    "bald": (0, 0, 0, 0, 0, 0),
    "receding": (8, 4, 6, 0, 22, 0),
    "fringe": (15, 9, 10, 30, 0, 0),
    "swept": (24, 6, 8, -2, 2, 0),
    "bob": (15, 13, 14, 10, 0, 88),
    "long": (13, 10, 14, 4, 0, 185),
    "bun": (8, 4, 6, -3, 0, 0),
    "afro": (34, 26, 30, 6, 0, 0),
}


def hair(identity: Identity, points: np.ndarray, c: Conditions, age: float) -> list[Surface]:
    """The hair of a picture as surfaces; none for a bald head."""
    from frfw.data.synthetic.surfaces import Surface

    side, end = _STYLES[c.hair][1], _STYLES[c.hair][5]
    if c.hair == "bald":
        return []
    shape = _scalp()
    count = shape[0] * shape[1]
    key = (identity.seed, identity.number, c.hair, c.hair_variant % VARIANTS)
    grow, triangles = _growth(*key, round(4 * age * identity.masculine), c.cap)
    made = [Surface(points[:count] + grow, shape, _scalp_uv(), triangles, gloss=0.12)]
    if end:
        rng = np.random.default_rng([c.hair_variant % VARIANTS, 63])
        made.append(_curtain(points, side, end * rng.uniform(0.9, 1.1), rng))
    return made


def _scalp() -> tuple[int, int]:
    """Rows and columns of the head's grid that hair can cover."""
    head = head_model()
    return int(np.searchsorted(head.row_t, 82)), head.shape[1]


@lru_cache(maxsize=1)
def _scalp_uv() -> np.ndarray:
    head, (rows, columns) = head_model(), _scalp()
    return _hair_uv(head.s[: rows * columns], head.t[: rows * columns])


@lru_cache(maxsize=256)
def _growth(
    seed: int, number: int, style: str, variant: int, aged: int, under_cap: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(V, 3) float32 displacement from the skin to the hair, and the triangles that show."""
    head, (rows, columns) = head_model(), _scalp()
    s, t = head.s[: rows * columns], head.t[: rows * columns]
    top, side, back, fringe, recede, _ = _STYLES[style]
    rng = np.random.default_rng([variant, 61])
    line = _hairline(s, (seed, number), fringe, recede + 2.2 * aged, rng)
    volume = rng.uniform(0.8, 1.25)
    high = smoothstep(t, -20, -75)
    behind = smoothstep(np.abs(s), 90, 150)
    thick = side + (back - side) * behind
    thick = (thick + (top - thick) * high) * volume
    if under_cap:
        thick = np.minimum(thick, 5.0 + 6.0 * (t > -20))
    parting = rng.uniform(-30, 30)
    part = 1 - 0.35 * np.exp(-0.5 * ((s - parting) / 7) ** 2) * high * (style != "afro")
    wave = 1 + 0.12 * np.sin(s / rng.uniform(5, 11) + rng.uniform(0, 6))
    cover = smoothstep(t, line + 5, line - 9)
    out = head.out[: rows * columns] + np.array([0, -0.8, 0]) * high[:, None]
    grow = out * (thick * part * wave * cover - 2.2 + 2.2 * cover)[:, None]
    triangles = grid_triangles(rows, columns)
    return grow.astype(np.float32), triangles[(cover[triangles] > 0).any(1)]


def _hairline(
    s: np.ndarray, person: tuple[int, int], fringe: float, recede: float, rng: np.random.Generator
) -> np.ndarray:
    """t of the hairline around the head; hair grows above it."""
    own = np.random.default_rng([*person, 59])
    wide = np.abs(s)
    high = own.normal(-64, 4.5)
    corner, burn = own.normal(46, 5), own.normal(16, 7)
    line = np.interp(
        wide,
        [0, 22, corner, 60, 69, 78, 87, 95, 103, 120, 138, 150, 220],
        [high, high - 1, high + 8, -38, -14, burn - 2, burn, -22, -32, -26, 40, 66, 76],
    )
    line = line - recede * np.exp(-0.5 * (wide / 45) ** 4)
    down = fringe * np.exp(-0.5 * (s / 48) ** 4) * rng.uniform(0.75, 1.15)
    ragged = np.sin(s / 3.1 + rng.uniform(0, 6)) + np.sin(s / 1.7 + rng.uniform(0, 6))
    return line + down + (0.6 + 0.04 * max(fringe, 0)) * ragged


def _curtain(points: np.ndarray, side: float, end: float, rng: np.random.Generator) -> Surface:
    """Long hair: a sheet around the sides and the back, open in front."""
    from frfw.data.synthetic.surfaces import Surface

    head = head_model()
    edge = rng.uniform(1.05, 1.3)
    a, t = np.meshgrid(np.linspace(edge, 2 * np.pi - edge, 29), np.linspace(-62, end, 15))
    numbers, weights = head.locate(np.array([-110.0, 110.0]), np.array([0.0, 0.0]))
    half = np.abs((points[numbers] * weights[..., None]).sum(1)[:, 0]).mean()
    bulge = np.interp(t, [-62, -30, 10, 60, 120, 190], [-3, 2, 5, 4, 1, 4])
    width = half + side + bulge + rng.uniform(-2, 3)
    ripple = 1.6 * np.sin(5 * a + t / rng.uniform(14, 30)) + 1.2 * np.sin(11 * a + t / 19)
    front = np.interp(t, [-62, 0, 60, 120, 190], [80, 78, 70, 66, 62])
    sin, cos = np.sin(a), np.cos(a)
    depth = np.where(cos > 0, front, 96 + side + bulge)
    z = depth * cos + 6 * np.sin(t / 40 + rng.uniform(0, 6)) * (cos > 0)
    grid = np.stack([(width + ripple) * sin, t, z], -1).reshape(-1, 3)
    uv = _hair_uv(RADIUS * (a.ravel() - np.pi), t.ravel())
    # The angle runs backwards seen from the front, so outside is the other way round.
    triangles = grid_triangles(*a.shape)
    return Surface(grid.astype(np.float32), a.shape, uv, triangles, True, 0.12)


def _hair_uv(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    x, y, w, h = chart.HAIR
    u = np.abs((s / 110.0) % 2 - 1)  # mirrored, so that no seam shows
    v = (t - chart.T_MIN) / (chart.T_MAX - chart.T_MIN)
    return np.stack([x + 1 + u * (w - 3), y + 1 + v * (h - 3)], -1).astype(np.float32)


def paint_hair(identity: Identity, variant: int) -> np.ndarray:
    """(h, w) float32 brightness of strands for the hair's strip, about 1."""
    rng = np.random.default_rng([identity.seed, identity.number, variant % 4, 67])
    _, _, w, h = chart.HAIR
    total = np.ones((h, w), np.float32)
    for across, along, strength in ((1, 24, 0.17), (2, 40, 0.14), (5, 60, 0.12)):
        noise = rng.normal(0, 1, (h // along + 2, w // across + 2)).astype(np.float32)
        total += strength * cv2.resize(noise, (w, h), interpolation=cv2.INTER_LINEAR)
    return np.clip(total, 0.45, 1.7)
