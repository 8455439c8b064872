"""A vectorised triangle rasteriser in NumPy: no loop over triangles, no loop over pixels.

Triangles are sorted into classes by the side of their bounding box, every class tests all pixels of
all its boxes at once, and the nearest fragment of a pixel wins by a radix sort on 16-bit depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SIDES = (2, 3, 4, 5, 7, 9, 12, 16, 24, 40, 80, 1024)


@dataclass
class Fragments:
    """The visible fragments of a drawing, one a covered pixel.

    Attributes:
        pixel: (F,) int32 position ``row * size + column``.
        corners: (F, 3) int32 vertex numbers of the triangle that is seen there.
        weights: (3, F) float32 barycentric weights of the corners, summing to one.
        depth: (F,) float32, larger is nearer.
    """

    pixel: np.ndarray
    corners: np.ndarray
    weights: np.ndarray
    depth: np.ndarray

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """Interpolate (V, K) vertex values to (F, K) at the fragments."""
        out = np.take(values, self.corners[:, 0], axis=0) * self.weights[0][:, None]
        out += np.take(values, self.corners[:, 1], axis=0) * self.weights[1][:, None]
        out += np.take(values, self.corners[:, 2], axis=0) * self.weights[2][:, None]
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
    mesh = _Facing(points, triangles, two_sided, size)
    parts = []
    below = 0
    for side in _SIDES:
        chosen = np.flatnonzero((mesh.extent > below) & (mesh.extent <= side))
        below = side
        if len(chosen):
            parts.append(_test_boxes(mesh, chosen, side, size))
    if not any(len(pixel) for pixel, *_ in parts):  # triangles may lie between pixel centres
        none = np.zeros(0, np.int32)
        return Fragments(none, none.reshape(0, 3), np.zeros((3, 0), np.float32), np.zeros(0))
    pixel, which, w1, w2 = (np.concatenate(column) for column in zip(*parts, strict=True))
    tri = mesh.triangles
    z0 = depth[tri[:, 0]]
    z1, z2 = depth[tri[:, 1]] - z0, depth[tri[:, 2]] - z0
    z = z0[which] + z1[which] * w1 + z2[which] * w2
    keep = _nearest(pixel, z, size)
    w1, w2 = w1[keep], w2[keep]
    corners = np.take(tri, which[keep], axis=0)
    return Fragments(pixel[keep], corners, np.stack([1.0 - w1 - w2, w1, w2]), z[keep])


class _Facing:
    """The triangles that face the camera and meet the picture, with edges and boxes.

    Everything lies in one array a coordinate: NumPy is several times faster on long axes.
    """

    def __init__(
        self, points: np.ndarray, triangles: np.ndarray, two_sided: np.ndarray, size: int
    ) -> None:
        x, y = np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1])
        a, b, c = (np.ascontiguousarray(triangles[:, k]) for k in range(3))
        ax, ay, bx, by, cx, cy = x[a], y[a], x[b], y[b], x[c], y[c]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        seen = (area > 1e-6) | (two_sided & (area < -1e-6))
        left, right = np.minimum(np.minimum(ax, bx), cx), np.maximum(np.maximum(ax, bx), cx)
        top, bottom = np.minimum(np.minimum(ay, by), cy), np.maximum(np.maximum(ay, by), cy)
        low_x, low_y = np.ceil(left - 0.5), np.ceil(top - 0.5)
        high_x, high_y = np.floor(right - 0.5), np.floor(bottom - 0.5)
        np.maximum(low_x, 0, out=low_x)
        np.maximum(low_y, 0, out=low_y)
        np.minimum(high_x, size - 1, out=high_x)
        np.minimum(high_y, size - 1, out=high_y)
        seen &= (high_x >= low_x) & (high_y >= low_y)
        kept = np.flatnonzero(seen)
        self.triangles = np.take(triangles, kept, axis=0)
        ax, ay, inverse = ax[kept], ay[kept], 1.0 / area[kept]
        self.ax, self.ay = ax, ay
        # Barycentric weights are linear: w1 = x * x1 - y * y1, w2 = y * y2 - x * x2.
        self.x1, self.y1 = (cy[kept] - ay) * inverse, (cx[kept] - ax) * inverse
        self.y2, self.x2 = (bx[kept] - ax) * inverse, (by[kept] - ay) * inverse
        self.low_x, self.low_y = low_x[kept].astype(np.int32), low_y[kept].astype(np.int32)
        self.extent = np.maximum((high_x - low_x)[kept], (high_y - low_y)[kept]) + 1


def _test_boxes(
    m: _Facing, chosen: np.ndarray, side: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Test every pixel of every ``side`` x ``side`` box; return what lies inside its triangle."""
    step = np.arange(side, dtype=np.int32)[:, None]
    columns, rows = m.low_x[chosen] + step, m.low_y[chosen] + step  # (side, n)
    x = columns.astype(np.float32) + (np.float32(0.5) - m.ax[chosen])
    y = rows.astype(np.float32) + (np.float32(0.5) - m.ay[chosen])
    w1 = (x * m.x1[chosen])[None] - (y * m.y1[chosen])[:, None]  # (row, column, triangle)
    w2 = (y * m.y2[chosen])[:, None] - (x * m.x2[chosen])[None]
    inside = np.minimum(np.minimum(w1, w2), 1.0 - (w1 + w2)) >= 0
    if columns[-1].max() >= size or rows[-1].max() >= size:
        inside &= (columns < size)[None] & (rows < size)[:, None]
    flat = np.flatnonzero(inside)
    place, box = np.divmod(flat, len(chosen))
    row, column = np.divmod(place, side)
    pixel = (m.low_y[chosen][box] + row) * size + m.low_x[chosen][box] + column
    return pixel, chosen[box], w1.ravel()[flat], w2.ravel()[flat]


def _nearest(pixel: np.ndarray, z: np.ndarray, size: int) -> np.ndarray:
    """Return the fragment numbers that win their pixel."""
    first, last = z.min(), z.max()
    key = ((z - first) * (65535.0 / max(last - first, 1e-6))).astype(np.uint16)
    order = np.argsort(key, kind="stable")  # a radix sort for 16-bit keys
    winner = np.full(size * size, -1, np.int32)
    winner[pixel[order]] = order  # later (nearer) fragments overwrite earlier ones
    return winner[winner >= 0]
