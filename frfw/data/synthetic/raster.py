"""A vectorised triangle rasteriser in NumPy: no loop over triangles, no loop over pixels.

Triangles are sorted into classes by the side of their bounding box, every class tests all pixels of
all its boxes at once, and the nearest fragment of a pixel wins by a radix sort on 16-bit depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SIDES = (2, 3, 4, 6, 9, 14, 28, 64, 256)


@dataclass
class Fragments:
    """The visible fragments of a drawing, one a covered pixel.

    Attributes:
        pixel: (F,) int32 position ``row * size + column``.
        corners: (F, 3) int32 vertex numbers of the triangle that is seen there.
        weights: (F, 3) float32 barycentric weights of the corners, summing to one.
        depth: (F,) float32, larger is nearer.
    """

    pixel: np.ndarray
    corners: np.ndarray
    weights: np.ndarray
    depth: np.ndarray

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """Interpolate (V, K) vertex values to (F, K) at the fragments."""
        out = values[self.corners[:, 0]] * self.weights[:, :1]
        out += values[self.corners[:, 1]] * self.weights[:, 1:2]
        out += values[self.corners[:, 2]] * self.weights[:, 2:]
        return out


def rasterise(
    points: np.ndarray,
    depth: np.ndarray,
    triangles: np.ndarray,
    two_sided: np.ndarray,
    size: int,
) -> Fragments:
    """Return what is seen of a triangle mesh on a square picture.

    Args:
        points: (V, 2) float32 positions in pixels; the centre of pixel (0, 0) is (0.5, 0.5).
        depth: (V,) float32, larger is nearer.
        triangles: (T, 3) int32; seen from outside, corners turn clockwise on the picture (y down).
        two_sided: (T,) bool; those triangles are drawn from behind too.
        size: side of the picture in pixels.
    """
    tri = _facing(points, triangles, two_sided)
    corner = points[tri]
    low = np.floor(corner.min(axis=1) - 0.5).astype(np.int32) + 1
    high = np.floor(corner.max(axis=1) - 0.5).astype(np.int32)
    np.maximum(low, 0, out=low)
    np.minimum(high, size - 1, out=high)
    extent = (high - low).max(axis=1) + 1
    extent[(high < low).any(axis=1)] = 0
    near = depth[tri]
    parts = []
    below = 0
    for side in _SIDES:
        chosen = np.flatnonzero((extent > below) & (extent <= side))
        below = side
        if len(chosen):
            parts.append(_test_boxes(corner[chosen], low[chosen], high[chosen], side, size, chosen))
    if not parts:
        none = np.zeros(0, np.int32)
        return Fragments(none, none.reshape(0, 3), np.zeros((0, 3), np.float32), np.zeros(0))
    pixel, which, w1, w2 = (np.concatenate(column) for column in zip(*parts, strict=True))
    weights = np.stack([1.0 - w1 - w2, w1, w2], axis=1)
    z = (near[which] * weights).sum(axis=1)
    keep = _nearest(pixel, z, size)
    return Fragments(pixel[keep], tri[which[keep]], weights[keep], z[keep])


def _facing(points: np.ndarray, triangles: np.ndarray, two_sided: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, k]] for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    front = area > 1e-6
    back = two_sided & (area < -1e-6)
    return np.concatenate([triangles[front], triangles[back][:, [0, 2, 1]]])


def _test_boxes(
    corner: np.ndarray, low: np.ndarray, high: np.ndarray, side: int, size: int, number: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Test every pixel of every ``side`` x ``side`` box; return what lies inside its triangle."""
    a, b, c = corner[:, 0], corner[:, 1], corner[:, 2]
    ab, ac = b - a, c - a
    inverse = 1.0 / (ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0])
    offset = np.arange(side, dtype=np.float32) + 0.5
    x = (low[:, 0, None] - a[:, 0, None]) + offset
    y = (low[:, 1, None] - a[:, 1, None]) + offset
    # Weights are linear in x and y: one outer sum each, over (triangle, row, column).
    w1 = (x * (ac[:, 1] * inverse)[:, None])[:, None, :]
    w1 = w1 - (y * (ac[:, 0] * inverse)[:, None])[:, :, None]
    w2 = (y * (ab[:, 0] * inverse)[:, None])[:, :, None]
    w2 = w2 - (x * (ab[:, 1] * inverse)[:, None])[:, None, :]
    inside = (w1 >= 0) & (w2 >= 0) & (w1 + w2 <= 1)
    if (high[:, 0] < low[:, 0] + side - 1).any() or (high[:, 1] < low[:, 1] + side - 1).any():
        step = np.arange(side, dtype=np.int32)
        inside &= (low[:, 0, None] + step < size)[:, None, :]
        inside &= (low[:, 1, None] + step < size)[:, :, None]
    flat = np.flatnonzero(inside)
    box, place = np.divmod(flat, side * side)
    row, column = np.divmod(place, side)
    pixel = (low[box, 1] + row) * size + low[box, 0] + column
    return pixel, number[box], w1.ravel()[flat], w2.ravel()[flat]


def _nearest(pixel: np.ndarray, z: np.ndarray, size: int) -> np.ndarray:
    """Return the fragment numbers that win their pixel."""
    first, last = z.min(), z.max()
    key = ((z - first) * (65535.0 / max(last - first, 1e-6))).astype(np.uint16)
    order = np.argsort(key, kind="stable")  # a radix sort for 16-bit keys
    winner = np.full(size * size, -1, np.int32)
    winner[pixel[order]] = order  # later (nearer) fragments overwrite earlier ones
    return winner[winner >= 0]
