"""Glasses: frames and lenses as lines in space, drawn over the finished head where visible."""

from __future__ import annotations

import cv2
import numpy as np

from frfw.data.synthetic.camera import Camera
from frfw.data.synthetic.conditions import Conditions
from frfw.data.synthetic.head import head_model

# half width and half height of a lens (mm), exponent of its outline, frame's thickness (mm)
_FORMS = {
    "clear": (24.0, 16.0, 3.0, 1.6),
    "round": (21.5, 20.0, 2.0, 2.0),
    "square": (25.0, 17.0, 5.0, 3.6),
    "sun": (28.0, 22.0, 3.2, 2.8),
}


def draw_glasses(
    picture: np.ndarray, nearest: np.ndarray, points: np.ndarray, camera: Camera, c: Conditions
) -> None:
    """Draw onto a (size, size, 4) uint8 picture (RGB and cover), in place.

    Args:
        picture: the head drawn so far.
        nearest: (size, size) float32 depth of what is seen, -inf for background.
        points: (V, 3) head vertices.
        camera: of the picture.
        c: the kind of glasses and the seed of their colour.
    """
    wide, high, power, thick = _FORMS[c.glasses]
    rng = np.random.default_rng([c.detail_seed, 83])
    dark = rng.random() < 0.7
    colour = rng.uniform(8, 50, 3) if dark else rng.uniform(60, 210, 3)
    left, right, bridge = _anchors(points)
    plane = max(left[2], right[2], bridge[2] - 10) + 13.0
    width = max(1, round(thick * camera.scale))
    lenses = [_outline(eye, plane, wide, high, power) for eye in (left, right)]
    tint = rng.uniform(15, 60, 3) if c.glasses == "sun" else np.array([225.0, 232, 238])
    strength = 0.9 if c.glasses == "sun" else 0.1
    for lens in sorted(lenses, key=lambda p: float(camera.turn(p)[:, 2].mean())):
        _lens(picture, nearest, lens, camera, tint, strength)
        _line(picture, nearest, lens, camera, colour, width)
    inner = np.array(
        [
            (left[0] + wide * 0.96, left[1] - 3, plane),
            (bridge[0], bridge[1], plane + 2),
            (right[0] - wide * 0.96, right[1] - 3, plane),
        ]
    )
    _line(picture, nearest, _dense(inner), camera, colour, width)
    for side, eye in ((-1, left), (1, right)):
        ear = head_model().locate(np.array([side * 104.0]), np.array([-6.0]))
        end = (points[ear[0]] * ear[1][..., None]).sum(1)[0] + [side * 3.0, 0, 0]
        hinge = np.array([eye[0] + side * wide, eye[1] - 4, plane])
        arm = np.array([hinge, hinge + np.array([side * 5, 0, -8]), end])
        _line(picture, nearest, _dense(arm), camera, colour, width)


def _anchors(points: np.ndarray) -> list[np.ndarray]:
    numbers, weights = head_model().locate(np.array([-32.0, 32, 0]), np.array([1.0, 1, -2]))
    return list((points[numbers] * weights[..., None]).sum(1).astype(np.float64))


def _outline(eye: np.ndarray, plane: float, wide: float, high: float, power: float) -> np.ndarray:
    a = np.linspace(0, 2 * np.pi, 41)
    x = np.sign(np.cos(a)) * np.abs(np.cos(a)) ** (2 / power) * wide
    y = np.sign(np.sin(a)) * np.abs(np.sin(a)) ** (2 / power) * high
    far = np.abs(eye[0] + x)
    return np.stack([eye[0] + x, eye[1] + 2 + y, plane - 0.0035 * far**2], 1)


def _dense(corners: np.ndarray) -> np.ndarray:
    at = np.linspace(0, len(corners) - 1, 25)
    return np.stack([np.interp(at, np.arange(len(corners)), corners[:, k]) for k in range(3)], 1)


def _seen(nearest: np.ndarray, flat: np.ndarray, depth: np.ndarray) -> np.ndarray:
    size = nearest.shape[0]
    at = flat.astype(int)
    inside = ((at >= 0) & (at < size)).all(1)
    at = np.clip(at, 0, size - 1)
    return inside & (depth > nearest[at[:, 1], at[:, 0]] - 1.5)


def _line(
    picture: np.ndarray, nearest: np.ndarray, points: np.ndarray, camera: Camera,
    colour: np.ndarray, width: int,
) -> None:  # fmt: skip
    turned = camera.turn(points.astype(np.float32))
    flat = camera.project(turned)
    shown = _seen(nearest, flat, turned[:, 2])
    fixed = np.round(flat * 8).astype(np.int32)
    ink = (*(float(v) for v in colour), 255.0)
    for k in np.flatnonzero(shown[1:] & shown[:-1]):
        cv2.line(picture, tuple(fixed[k].tolist()), tuple(fixed[k + 1].tolist()), ink, width,
                 cv2.LINE_8, 3)  # fmt: skip


def _lens(
    picture: np.ndarray, nearest: np.ndarray, outline: np.ndarray, camera: Camera,
    tint: np.ndarray, strength: float,
) -> None:  # fmt: skip
    turned = camera.turn(outline.astype(np.float32))
    flat = camera.project(turned)
    mask = np.zeros(nearest.shape, np.uint8)
    cv2.fillPoly(mask, [np.round(flat * 8).astype(np.int32)], 255, cv2.LINE_8, 3)
    hidden = nearest > turned[:, 2].max() + 2
    at = np.flatnonzero((mask > 0) & ~hidden)
    pixels = picture.reshape(-1, 4)
    target = np.array([*tint, 255.0], np.float32)
    pixels[at] = pixels[at] + np.float32(strength) * (target - pixels[at])
