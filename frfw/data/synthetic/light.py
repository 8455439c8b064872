"""Light on vertices: a key light that wraps around skin, light from all around, a highlight."""

from __future__ import annotations

import numpy as np

from frfw.data.synthetic.conditions import Conditions

# Light goes through skin a little: red reaches further around the edge of a shadow.
_WRAP = np.array([0.32, 0.2, 0.14], np.float32)


def light_vertices(normals: np.ndarray, gloss: np.ndarray, c: Conditions) -> np.ndarray:
    """Return (V, 4) float32: a factor for the display colour's three channels, and a highlight.

    Args:
        normals: (V, 3) unit normals in camera coordinates (x right, y down, z to the camera).
        gloss: (V,) strength of the highlight.
        c: direction, strength and colour of the light.

    Light adds up linearly; its square root is the factor for display values (a gamma of 2).
    """
    azimuth, elevation = np.radians(c.light_from)
    flat = np.cos(elevation)
    towards = np.array(
        [np.sin(azimuth) * flat, -np.sin(elevation), np.cos(azimuth) * flat], np.float32
    )
    warm = (1 + c.warmth, 1 + 0.25 * c.tint, 1 - c.warmth)
    cool = (1 - 0.5 * c.warmth, 1 - 0.25 * c.tint, 1 + 0.5 * c.warmth)
    x, y, z = (np.ascontiguousarray(normals[:, k]) for k in range(3))
    facing = x * towards[0] + y * towards[1] + z * towards[2]
    sky = np.float32(c.fill) * (np.float32(0.78) - np.float32(0.3) * y + np.float32(0.16) * z)
    out = np.empty((len(normals), 4), np.float32)
    for k in range(3):
        wrap = _WRAP[k]
        key = np.maximum(facing + wrap, 0) * np.float32(1.25 * c.key * warm[k] / (1 + wrap))
        out[:, k] = np.sqrt(np.maximum(key + sky * np.float32(cool[k]), 1e-3))
    half = towards + np.array([0, 0, 1], np.float32)
    half /= np.sqrt((half * half).sum()) + 1e-6
    shine = np.maximum(x * half[0] + y * half[1] + z * half[2], 0)
    for _ in range(4):  # to the 16th power
        shine *= shine
    out[:, 3] = shine * gloss * np.float32(255 * c.key)
    return out
