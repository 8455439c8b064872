"""Everything drawn besides the head itself: ears, hair, cap, mask, shoulders, as grid surfaces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from frfw.data.synthetic import chart
from frfw.data.synthetic.conditions import Conditions
from frfw.data.synthetic.head import RADIUS, grid_triangles, head_model, smoothstep
from frfw.data.synthetic.identity import Identity


@dataclass
class Surface:
    """A grid of vertices with texture coordinates.

    Attributes:
        points: (V, 3) float32 in mm, head coordinates.
        shape: rows, columns.
        uv: (V, 2) float32 pixels of the texture sheet.
        triangles: (T, 3) int32.
        two_sided: seen from behind too.
        gloss: strength of the highlight.
    """

    points: np.ndarray
    shape: tuple[int, int]
    uv: np.ndarray
    triangles: np.ndarray
    two_sided: bool = False
    gloss: float = 0.0


def head_surface(points: np.ndarray) -> Surface:
    """The skin: the deformed head with the chart as texture coordinates."""
    head = head_model()
    return Surface(points, head.shape, _head_uv(), head.triangles, gloss=0.16)


@lru_cache(maxsize=1)
def _head_uv() -> np.ndarray:
    head = head_model()
    return chart.to_sheet(head.s, head.t)


def _patch_uv(patch: tuple[int, int, int, int], u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """u, v in 0..1 -> pixels inside a patch of the sheet, half a pixel from its border."""
    x, y, w, h = patch
    return (
        np.stack([x + 1 + u * (w - 3), y + 1 + v * (h - 3)], -1).reshape(-1, 2).astype(np.float32)
    )


def ears(identity: Identity, points: np.ndarray, age: float) -> list[Surface]:
    """Two discs with a rim and a hollow, behind the cheek."""
    size, stand, lobe, tilt = identity.ear
    size = size * (1 + 0.08 * age)
    head = head_model()
    numbers, weights = head.locate(np.array([-106.0, 106.0]), np.array([8.0, 8.0]))
    roots = (points[numbers] * weights[..., None]).sum(1)
    r, a = _ear_grid()
    u, v = r * np.cos(a), r * np.sin(a)
    narrow = 1 - 0.25 * np.clip(v, 0, 1) * (1 - 0.5 * lobe)
    back = 17.0 * size * u * narrow + 3.0
    down = 31.0 * size * v * (1 + 0.12 * lobe * (v > 0))
    lift = 4.0 * np.exp(-(((r - 0.88) / 0.2) ** 2)) - 1.5 * np.exp(-((r / 0.45) ** 2))
    back, down = back + tilt * -down * 0.8, down + tilt * back
    uv = _patch_uv(chart.EAR, 0.5 + 0.5 * u, 0.5 + 0.5 * v)
    made = []
    for side, root in ((-1.0, roots[0]), (1.0, roots[1])):
        out = (back + 17.0) * np.sin(stand) + lift * np.cos(stand) - 3.5
        out -= 0.1 * np.maximum(down, 0)
        z = root[2] - 14.0 - back * np.cos(stand) + lift * np.sin(stand)
        grid = np.stack([root[0] + side * out, root[1] + down, z], -1).reshape(-1, 3)
        triangles = grid_triangles(*r.shape)
        made.append(Surface(grid.astype(np.float32), r.shape, uv, triangles, True, 0.1))
    return made


@lru_cache(maxsize=1)
def _ear_grid() -> tuple[np.ndarray, np.ndarray]:
    r, a = np.meshgrid([0.05, 0.35, 0.6, 0.78, 0.9, 1.0], np.linspace(0, 2 * np.pi, 15))
    return r, a


def cap(points: np.ndarray) -> list[Surface]:
    """A baseball cap: a dome over the head and a visor."""
    head = head_model()
    cover = smoothstep(head.t, _cap_line(head.s) + 4, _cap_line(head.s) - 4)
    dome = points + head.out * (cover * 9.0 - 2.0)[:, None]
    dome[:, 1] -= 5.0 * cover
    dome = dome.astype(np.float32)
    uv = _patch_uv(chart.CAP, np.clip(head.s / 300 + 0.5, 0, 1), np.clip((head.t + 118) / 90, 0, 1))
    triangles = head.triangles[(cover[head.triangles] > 0).any(1)]
    a, reach = np.meshgrid(np.linspace(-0.95, 0.95, 15), np.linspace(0, 1, 5))
    numbers, weights = head.locate(RADIUS * a[0], _cap_line(RADIUS * a[0]))
    rim = (points[numbers] * weights[..., None]).sum(1)
    out = np.stack([np.sin(a), 0 * a, np.cos(a)], -1)
    far = 66.0 * np.cos(a * 1.5) ** 0.7
    grid = rim[None] + out * (6 + reach * far)[..., None] * np.array([0.35, 1, 1])
    grid[..., 1] += 2 + 24 * reach + 16 * a**2 * reach
    visor_uv = _patch_uv(chart.VISOR, a / 1.9 + 0.5, reach)
    visor = Surface(
        grid.reshape(-1, 3).astype(np.float32), a.shape, visor_uv, grid_triangles(*a.shape), True
    )
    return [Surface(dome, head.shape, uv, triangles), visor]


def _cap_line(s: np.ndarray) -> np.ndarray:
    return np.interp(np.abs(s), [0, 60, 100, 220], [-44.0, -36.0, -18.0, 0.0])


def mask(points: np.ndarray, variant: int) -> Surface:
    """A face mask from the bridge of the nose to below the chin."""
    head = head_model()
    rows, columns = head.shape
    grid = points.reshape(rows, columns, 3).copy()
    for _ in range(3):  # cloth bridges what is hollow
        grid[1:-1] = 0.5 * grid[1:-1] + 0.25 * (grid[2:] + grid[:-2])
        grid[:, 1:-1] = 0.5 * grid[:, 1:-1] + 0.25 * (grid[:, 2:] + grid[:, :-2])
    top = np.interp(np.abs(head.s), [0, 20, 55, 90], [14.0, 21.0, 28.0, 40.0]) + variant % 5
    cover = smoothstep(head.t, top - 2, top + 3) * smoothstep(head.t, 122, 117)
    cover *= smoothstep(np.abs(head.s), 92, 84)
    tent = 9.0 * head.blob(0, 46, 26, 26)
    worn = np.maximum(grid.reshape(-1, 3)[:, 2], points[:, 2])
    out = np.stack([grid.reshape(-1, 3)[:, 0], points[:, 1], worn], 1)
    out += head.out * (cover * (5.0 + tent) - 3.0)[:, None]
    uv = _patch_uv(
        chart.MASK, np.clip(head.s / 190 + 0.5, 0, 1), np.clip((head.t - 10) / 112, 0, 1)
    )
    triangles = head.triangles[(cover[head.triangles] > 0).any(1)]
    return Surface(out.astype(np.float32), head.shape, uv, triangles)


def clothes(points: np.ndarray) -> Surface:
    """A collar and shoulders below the neck."""
    head = head_model()
    a, v = np.meshgrid(np.linspace(-np.pi, np.pi, 21), np.linspace(0, 1, 5))
    width, depth = 58 + 130 * v**1.3, 52 + 35 * v
    y = 150 + 16 * np.cos(a) * (1 - v) + 44 * v**1.2
    grid = np.stack([width * np.sin(a), y, depth * np.cos(a) - 8], -1).reshape(-1, 3)
    grid[:, 1] += points[head.shape[1] * -4, 1] - head.mean[head.shape[1] * -4, 1]
    uv = _patch_uv(chart.CLOTH, (a / (2 * np.pi) + 0.5), v)
    return Surface(grid.astype(np.float32), a.shape, uv, grid_triangles(*a.shape), True)


def surfaces(identity: Identity, points: np.ndarray, c: Conditions, age: float) -> list[Surface]:
    """All surfaces of a picture; the head comes first."""
    from frfw.data.synthetic.hair import hair

    made = [head_surface(points), *ears(identity, points, age), clothes(points)]
    made += hair(identity, points, c, age)
    if c.cap:
        made += cap(points)
    if c.mask:
        made.append(mask(points, c.hair_variant))
    return made
