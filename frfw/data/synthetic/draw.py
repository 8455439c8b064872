"""Draw one picture: person + conditions -> aligned RGB crop."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from frfw.data.synthetic.camera import Camera, rotate
from frfw.data.synthetic.conditions import Conditions, Difficulty, draw_conditions
from frfw.data.synthetic.glasses import draw_glasses
from frfw.data.synthetic.head import grid_normals, head_model, smoothstep
from frfw.data.synthetic.identity import Identity, create_identity
from frfw.data.synthetic.light import light_vertices
from frfw.data.synthetic.photo import background, develop
from frfw.data.synthetic.raster import rasterise
from frfw.data.synthetic.sheet import PersonSheets
from frfw.data.synthetic.surfaces import Surface, surfaces

OVERSAMPLE = 1.5

_EXPRESSIONS = (
    "smile", "sad", "jaw", "pucker", "stretch", "brow_up", "frown", "sneer", "squint", "skew",
)  # fmt: skip


def draw_face(
    seed: int,
    identity: int,
    index: int,
    size: int = 112,
    *,
    scene: str = "train",
    difficulty: Difficulty | None = None,
    **conditions: Any,
) -> np.ndarray:
    """Draw picture ``index`` of person ``identity``, aligned to the five-point template.

    A pure function of its arguments: the same in any process, in any order.

    Args:
        seed, identity, index: which person, which picture; integers of at least 0.
        size: side of the crop in pixels.
        scene: which ranges conditions are drawn from, see `conditions.SCENES`.
        difficulty: strengths of what varies.
        conditions: fields of `Conditions` to fix, such as ``yaw=90`` or ``glasses="sun"``.

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        FrfwError: an unknown scene or condition.
    """
    spread = difficulty.spread if difficulty else 1.0
    person, sheets = person_sheets(seed, identity, spread)
    c = draw_conditions(person, index, scene, difficulty, **conditions)
    return draw_person(person, sheets, c, size)


@lru_cache(maxsize=8)
def person_sheets(seed: int, number: int, spread: float) -> tuple[Identity, PersonSheets]:
    """Return a person and what all its texture sheets share, kept for the next picture."""
    person = create_identity(seed, number, spread)
    return person, PersonSheets(person)


def draw_person(person: Identity, sheets: PersonSheets, c: Conditions, size: int) -> np.ndarray:
    """Draw a person under given conditions; (size, size, 3) uint8 RGB."""
    years_old = float(smoothstep(np.array(c.age * person.ageing), 28, 80))
    points = deform(person, c)
    parts = surfaces(person, points, c, years_old)
    sheet = sheets.compose(c, years_old)
    fine = round(size * OVERSAMPLE)
    camera = Camera(points, c, fine)
    picture, nearest = _render(parts, sheet, camera, c, fine)
    if c.glasses:
        draw_glasses(picture, nearest, points, camera, c)
    small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    behind = cv2.multiply(background(c, size), 255 - _rgb(small[..., 3]), scale=1 / 255)
    return develop(cv2.add(small[..., :3], behind), c)


def _rgb(grey: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(grey), cv2.COLOR_GRAY2RGB)


def deform(person: Identity, c: Conditions) -> np.ndarray:
    """(V, 3) float32 head vertices of a person with expression and age."""
    fields = head_model().fields
    points = person.neutral.copy()
    for name in _EXPRESSIONS:
        value = getattr(c, name)
        if value:
            points += np.float32(value) * fields[f"ex_{name}"]
    old = float(smoothstep(np.array(c.age * person.ageing), 30, 82))
    young = float(smoothstep(np.array(c.age), 30, 12))
    for name, value in (("age_old", old), ("age_young", young)):
        if value > 0:
            points += np.float32(value) * fields[name]
    return points


def _render(
    parts: list[Surface], sheet: np.ndarray, camera: Camera, c: Conditions, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (size, size, 4) uint8 RGB (times cover) and cover, and the (size, size) depth."""
    turned = camera.turn(np.concatenate([p.points for p in parts]))
    normals = np.concatenate([grid_normals(p.points, p.shape) for p in parts])
    normals = rotate(normals, camera.rotation)
    start = np.cumsum([0] + [len(p.points) for p in parts])
    triangles = np.concatenate([p.triangles + np.int32(s) for p, s in zip(parts, start)])
    two_sided = np.concatenate([np.full(len(p.triangles), p.two_sided) for p in parts])
    gloss = np.concatenate([np.full(len(p.points), p.gloss, np.float32) for p in parts])
    for part, first in zip(parts, start):
        if part.two_sided:  # lit from whichever side is seen
            own = normals[first : first + len(part.points)]
            own *= np.where(own[:, 2:] < 0, -1, 1)
    uv = np.concatenate([p.uv for p in parts])
    values = np.concatenate([uv, light_vertices(normals, gloss, c)], 1)
    seen = rasterise(camera.project(turned), turned[:, 2], triangles, two_sided, size)
    at = seen.interpolate(values)
    where = np.zeros((size * size, 2), np.float32)
    where[seen.pixel] = at[:, :2]
    where = where.reshape(size, size, 2)
    colour = cv2.remap(sheet, where, None, cv2.INTER_LINEAR).reshape(-1, 3)[seen.pixel]
    shaded = colour * at[:, 2:5]
    shaded += at[:, 5:]
    np.minimum(shaded, 255, out=shaded)
    picture = np.zeros((size * size, 4), np.uint8)
    picture[seen.pixel, :3] = shaded
    picture[seen.pixel, 3] = 255
    nearest = np.full(size * size, -np.inf, np.float32)
    nearest[seen.pixel] = seen.depth
    return picture.reshape(size, size, 4), nearest.reshape(size, size)
