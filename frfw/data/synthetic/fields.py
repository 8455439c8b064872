"""Deformation fields of the head: what makes a person, an expression, an age.

Every field is a displacement (mm) of all vertices for a parameter value of one; identity parameters
are drawn from a standard normal, expressions from 0 to 1, age fields from 0 to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from frfw.data.synthetic.head import HeadModel

Field = np.ndarray


def deformation_fields(head: HeadModel) -> dict[str, Field]:
    """Return name -> (V, 3) float32 displacement, all kinds together."""
    fields = {**_skull(head), **_eyes(head), **_nose(head), **_mouth(head)}
    fields = {f"id_{name}": field for name, field in fields.items()}
    fields |= {f"ex_{name}": field for name, field in _expressions(head).items()}
    fields |= {f"age_{name}": field for name, field in _ages(head).items()}
    return {name: np.ascontiguousarray(field, np.float32) for name, field in fields.items()}


def _move(weight: np.ndarray, x: object = 0.0, y: object = 0.0, z: object = 0.0) -> Field:
    """Displace by (x, y, z), numbers or (V,) arrays, times a (V,) weight."""
    parts = [np.broadcast_to(np.asarray(v, np.float64), weight.shape) for v in (x, y, z)]
    return weight[:, None] * np.stack(parts, 1)


def _skull(h: HeadModel) -> dict[str, Field]:
    from frfw.data.synthetic.head import smoothstep

    s, t, mean = h.s, h.y, h.mean.astype(np.float64)
    side, front = np.sign(s), np.maximum(0.0, np.cos(s / 70.0))
    lower, jaw = smoothstep(t, 5, 105), np.exp(-0.5 * ((t - 88) / 26) ** 2)
    one = np.ones_like(s)
    return {
        "width": _move(one, x=0.05 * mean[:, 0]),
        "length": _move(lower, y=6.0),
        "forehead": _move(smoothstep(t, -10, -80), y=-5.0),
        "slope": _move(smoothstep(t, -25, -80) * front, z=-6.0),
        "jaw_width": _move(jaw * np.abs(np.sin(s / 70.0)), x=6.0 * side),
        "jaw_angle": _move(np.exp(-0.5 * ((np.abs(s) - 88) / 26) ** 2) * jaw, y=7.0),
        "chin_width": _move(h.blob(24, 102, 10, 12), x=4.5 * side, z=2.0),
        "chin_forward": _move(h.blob(0, 102, 20, 14), z=5.0),
        "chin_height": _move(smoothstep(t, 78, 106) * front, y=5.0),
        "cheekbone": h.blob(50, 20, 15, 12)[:, None] * h.out * 4.0,
        "cheek": h.blob(50, 58, 18, 20)[:, None] * h.out * 5.0,
        "fat": (h.blob(60, 80, 30, 26) + h.blob(0, 120, 40, 10))[:, None] * h.out * 5.5,
        "temple": h.blob(76, -22, 18, 22)[:, None] * h.out * 3.5,
        "flatness": _move(front * np.exp(-0.5 * ((t - 25) / 60) ** 2), z=-4.0),
        "neck": _move(smoothstep(t, 118, 135), x=5.0 * np.sin(s / 70.0)),
    }


def _eyes(h: HeadModel) -> dict[str, Field]:
    s, t = h.s, h.y
    side, eye = np.sign(s), h.blob(32, 0, 15, 10)
    dx = np.abs(s) - 32.0
    wide = h.blob(32, -3, 22, 15)
    brow = h.blob(20, -17, 12, 6) + h.blob(40, -16, 12, 6)
    return {
        "eye_spacing": _move(wide, x=3.4 * side),
        "eye_depth": _move(h.blob(32, 0, 15, 11), z=-3.5),
        "eye_height": _move(wide, y=2.8),
        "eye_width": _move(eye, x=0.16 * dx * side),
        "eye_open": _move(eye, y=0.26 * t),
        "eye_tilt": _move(eye, y=-0.17 * dx),
        "brow_ridge": _move(brow, z=3.0),
        "brow_height": _move(brow, y=-3.2),
        "brow_tilt": _move(brow, y=-0.18 * dx),
        "eye_uneven": _move(wide, y=1.0 * side),
        "bags": h.blob(31, 13, 11, 4)[:, None] * h.out * 1.6,
    }


def _nose(h: HeadModel) -> dict[str, Field]:
    s = h.s
    side = np.sign(s)
    tip = h.blob(0, 37, 12, 8)
    ridge = h.blob(0, 20, 8, 16)
    lower = h.blob(0, 41, 19, 9)
    return {
        "nose_length": _move(h.blob(0, 42, 19, 13), y=4.6),
        "nose_width": _move(lower, x=0.28 * s),
        "nose_projection": _move(h.blob(0, 34, 12, 11), z=4.6),
        "nose_bridge": _move(h.blob(0, 4, 8, 12), z=4.2),
        "nose_hump": _move(h.blob(0, 18, 7, 7), z=3.2),
        "nose_tilt": _move(tip, y=-3.6, z=1.0),
        "nose_tip": h.blob(7, 38, 5, 5)[:, None] * h.out * 2.6,
        "nose_wing": h.blob(14, 41, 5, 5)[:, None] * h.out * 2.6 + _move(lower, x=1.2 * side),
        "bridge_width": h.blob(9, 10, 4, 13)[:, None] * h.out * 2.6,
        "nose_bend": _move(ridge + tip, x=1.5),
    }


def _mouth(h: HeadModel) -> dict[str, Field]:
    s, t = h.s, h.y
    side, mouth = np.sign(s), h.blob(0, 72, 26, 11)
    return {
        "mouth_width": _move(mouth, x=0.17 * s),
        "mouth_height": _move(h.blob(0, 72, 34, 14), y=3.2),
        "upper_lip": _move(h.blob(0, 62, 20, 3.2), y=-2.6) + _move(h.blob(0, 66, 14, 3), z=1.4),
        "lower_lip": _move(h.blob(0, 82, 18, 4), y=2.8) + _move(h.blob(0, 78, 14, 4), z=1.6),
        "lips_forward": _move(h.blob(0, 72, 24, 11), z=3.4),
        "corners": _move(h.blob(25, 72, 9, 6), y=-2.2),
        "muzzle": _move(h.blob(0, 62, 28, 16), z=2.6),
        "cupid": _move(h.blob(0, 62, 4, 3), y=1.5) + _move(h.blob(8, 61, 5, 3), y=-0.9),
        "mouth_uneven": _move(h.blob(24, 72, 12, 8), y=1.1 * side),
        "chin_fold": _move(h.blob(0, 88, 18, 4), z=-2.0),
        "philtrum": _move(np.exp(-0.5 * ((t - 57) / 5) ** 2) * np.exp(-0.5 * (s / 9) ** 2), z=-1.0),
    }


def _expressions(h: HeadModel) -> dict[str, Field]:
    s, t = h.s, h.y
    side, corner = np.sign(s), h.blob(27.5, 72, 10, 9)
    front = np.exp(-0.5 * (s / 62) ** 4)
    # The slit opens: the lower half of the strip and all below it follow the jaw.
    jaw = np.interp(h.t, [-200, 70, 74, 108, 124, 145], [0, 0, 0.8, 1, 0.7, 0]) * front
    # The corners of the mouth are held, so the opening is an ellipse.
    held = 1 - np.sqrt(np.clip(1 - (s / 29.5) ** 2, 0, 1))
    corner_hold = 1 - 0.9 * held * np.exp(-0.5 * ((t - 73) / 8) ** 2)
    inside = np.exp(-0.5 * ((h.t - 72) / 1.2) ** 2) * np.exp(-0.5 * (s / 18) ** 2)
    cheek = h.blob(38, 40, 13, 12)
    return {
        "smile": _move(corner, x=6.5 * side, y=-6.0, z=-3.0)
        + _move(h.blob(0, 66, 16, 4), y=-2.0, z=-1.5)
        + cheek[:, None] * h.out * 4.0
        + _move(cheek, y=-3.0)
        + _move(h.blob(32, 9, 12, 4), y=-1.8),
        "sad": _move(corner, y=4.5) + _move(h.blob(16, -16, 8, 7), y=-3.5),
        "jaw": _move(jaw * corner_hold, y=17.0, z=-4.0) + _move(inside, z=-7.0),
        "pucker": _move(h.blob(0, 72, 24, 10), x=-0.3 * s, z=4.5),
        "stretch": _move(h.blob(0, 72, 28, 11), x=0.16 * s),
        "brow_up": _move(h.blob(20, -16, 14, 9) + h.blob(42, -15, 12, 8), y=-5.0),
        "frown": _move(h.blob(13, -14, 10, 7), x=-2.6 * side, y=4.0),
        "sneer": _move(h.blob(13, 42, 8, 8), y=-3.0) + _move(h.blob(8, 62, 12, 5), y=-2.0),
        "squint": _move(h.blob(32, 9, 13, 5), y=-2.2) + _move(h.blob(32, -9, 14, 5), y=1.4),
        "skew": _move(h.blob(24, 72, 12, 9), y=-2.5 * side, x=1.5),
    }


def _ages(h: HeadModel) -> dict[str, Field]:
    s, t = h.s, h.y
    side = np.sign(s)
    old = (
        h.blob(46, 94, 13, 11)[:, None] * h.out * 4.5  # jowls
        + _move(h.blob(46, 94, 14, 12), y=3.5)
        + h.blob(48, 56, 14, 15)[:, None] * h.out * -3.2  # hollow cheeks
        + h.blob(76, -20, 16, 18)[:, None] * h.out * -2.5  # hollow temples
        + _move(h.blob(0, 38, 14, 9), y=3.2, z=1.2)  # the tip of the nose sinks
        + _move(h.blob(0, 41, 17, 9), x=0.1 * s)
        + _move(h.blob(0, 63, 18, 3), y=1.4)  # thinner lips
        + _move(h.blob(0, 81, 17, 4), y=-1.6)
        + _move(h.blob(44, -12, 12, 8), y=3.2)  # the outer brow sinks
        + _move(h.blob(32, -7, 13, 4), y=1.6)  # heavier lids
        + h.blob(31, 14, 10, 4)[:, None] * h.out * 1.8  # bags under the eyes
        + h.blob(0, 122, 26, 9)[:, None] * h.out * 4.0  # double chin
        + _move(h.blob(25, 73, 9, 6), y=1.6)
    )
    young = (
        h.blob(46, 58, 18, 18)[:, None] * h.out * 3.6  # round cheeks
        + _move(np.exp(-0.5 * ((t - 92) / 18) ** 2), x=-2.6 * np.sin(s / 70.0))
        + _move(h.blob(0, 100, 40, 16), y=-3.0)
        + _move(h.blob(0, 30, 10, 12), z=-2.2)
        + _move(h.blob(32, 0, 15, 9), y=0.14 * t)
        + _move(h.blob(20, -15, 14, 6), z=-2.0)
        + _move(h.blob(60, 90, 16, 14), x=-1.2 * side)
    )
    return {"old": old, "young": young}
