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
    facing = normals @ towards
    warm = np.array([1 + c.warmth, 1 + 0.25 * c.tint, 1 - c.warmth], np.float32)
    cool = np.array([1 - 0.5 * c.warmth, 1 - 0.25 * c.tint, 1 + 0.5 * c.warmth], np.float32)
    key = np.maximum((facing[:, None] + _WRAP) / (1 + _WRAP), 0)
    sky = 0.78 - 0.3 * normals[:, 1] + 0.16 * normals[:, 2]
    total = 1.25 * c.key * key * warm + c.fill * sky[:, None] * cool
    half = towards + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half) + 1e-6
    shine = np.maximum(normals @ half, 0)
    for _ in range(4):  # to the 16th power
        shine *= shine
    shine *= gloss * np.float32(c.key)
    out = np.empty((len(normals), 4), np.float32)
    np.sqrt(np.maximum(total, 1e-3), out=out[:, :3])
    out[:, 3] = shine * 255.0
    return out
