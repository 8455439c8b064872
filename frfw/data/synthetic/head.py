"""The 3-D head: a mean surface and linear fields that deform it (a small morphable model).

Units are millimetres: x to the right of the picture, y down, z towards the camera, the eye line at
y = 0 and the ear axis at z = 0. The surface is a grid over a chart (s, t): s is 70 times the angle
around the vertical axis (so about millimetres of skin at the front), t runs down the front midline.
Texture is painted in the same chart, so an eye bump and the painted eye stay together whatever the
deformation. Between t = 70 and t = 74 lies the mouth slit: closed in the mean head, it holds the
inside of the mouth.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

RADIUS = 70.0
SLIT = (70.0, 74.0)

# fmt: off
_ROWS = (
    -118, -115, -109, -100, -88, -74, -61, -50, -40, -32, -26, -20, -15, -10, -5, 0, 5, 10, 15, 20,
    25, 30, 34, 37.5, 40, 42.5, 45, 47.5, 51, 55, 59, 62, 64.5, 67, 70, 72, 74, 77, 80, 83, 87, 91,
    95, 99, 103, 107, 111, 114, 117, 120, 125, 138, 165, 205,
)
_HALF_COLUMNS = (
    0, 3, 6, 9, 12, 15, 18, 21, 24, 28, 32, 37, 42, 47, 53, 59, 66, 73, 81, 90, 100, 114, 134, 157,
    180,
)
# y on the front midline, how far the row rises towards the ear, half width, depth to the front,
# depth to the back, all in mm.
_PROFILE = (
    (-118, 0, 1, 1, 1), (-115, 0, 28, 32, 42), (-110, 0, 42, 50, 58), (-102, 0, 54, 64, 72),
    (-92, 0, 62, 75, 83), (-80, 0, 67, 83, 90), (-60, 0, 71.5, 90, 96), (-40, 0, 73.5, 93, 98),
    (-22, 0, 74, 93, 98), (-8, 0, 73.5, 90, 96), (0, 0, 73, 88, 94), (15, 0, 72, 88, 90),
    (30, 0, 70, 89, 84), (45, 0, 67, 90, 76), (58, 5, 64, 91, 70), (72, 14, 60.2, 91.5, 65.5),
    (84, 24, 57, 89, 62), (92, 31, 55, 88.5, 60), (100, 38, 53, 88, 59), (107, 43, 51, 85.5, 58),
    (112, 46, 49, 79, 58), (115, 47.5, 47.5, 70, 58), (117.5, 48, 46, 60, 58),
    (121, 46, 47, 50, 58), (127, 38, 50, 46, 58), (141, 18, 53, 44, 60), (166, 0, 56, 45, 62),
    (201, 0, 64, 50, 66),
)
# From t to y: the slit is closed, rows below the chin follow the bend under the jaw.
_T_TO_Y = (
    (-118, 60, 70, 74, 84, 115, 118, 123, 130, 145, 170, 205),
    (-118, 60, 71.7, 72.3, 84, 115, 117.5, 121, 127, 141, 166, 201),
)
# amplitude along the outward normal of the cross-section (mm), s, t, sigma s, sigma t
_BUMPS = (
    (4.5, 20, -15, 13, 6), (2.5, 38, -14, 12, 6),             # brow ridge
    (-9, 28, 1, 12, 9), (-4, 42, 2, 9, 9),                    # eye sockets
    (4.5, 32, 0.5, 9.5, 6),                                   # eyeballs
    (6, 0, -6, 8, 8), (10, 0, 6, 7, 9), (14, 0, 19, 6.5, 9),  # bridge and ridge of the nose
    (15, 0, 32, 7.5, 8), (11, 0, 39, 9, 4.5),                 # tip
    (9, 13.5, 40.5, 4.5, 4.5),                                # wings of the nose
    (5, 50, 20, 14, 11), (3, 56, 8, 8, 8),                    # cheekbones
    (-2.5, 50, 62, 12, 16),                                   # hollow of the cheek
    (3.5, 0, 64, 24, 14),                                     # muzzle
    (3.2, 7, 66.5, 9, 3), (2.2, 18, 68.5, 7, 2.5),            # upper lip
    (4.6, 0, 78, 16, 3.6),                                    # lower lip
    (-2.2, 0, 72, 24, 1.5), (-2.5, 29.5, 72, 5, 4),             # mouth line and corners
    (-1.2, 0, 57, 3, 5),                                      # philtrum
    (-4.2, 0, 87, 17, 4),                                     # fold above the chin
    (5.5, 0, 100, 15, 9),                                     # chin
    (-3, 76, -22, 14, 18),                                    # temples
)
# fmt: on


def _gauss(x: np.ndarray, centre: float, sigma: float) -> np.ndarray:
    return np.exp(-0.5 * ((x - centre) / sigma) ** 2)


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between (``low`` may exceed ``high``)."""
    u = np.clip((x - low) / (high - low), 0.0, 1.0)
    return u * u * (3.0 - 2.0 * u)


class HeadModel:
    """The mean head, its chart, triangles and named deformation fields.

    Attributes:
        shape: (rows, columns) of the grid.
        s, t: (V,) chart coordinates of the vertices, mm.
        y: (V,) height on the front midline, mm: t with the mouth closed.
        mean: (V, 3) float32 vertices.
        base: (V, 3) float32 vertices of the plain skull without features (clothes follow it).
        out: (V, 3) float32 outward directions of the cross-sections.
        triangles: (T, 3) int32.
        fields: name -> (V, 3) float32 displacement for a parameter value of one.
    """

    def __init__(self) -> None:
        self.row_t = np.array(_ROWS, np.float64)
        half = np.array(_HALF_COLUMNS)
        self.column_a = np.radians(np.concatenate([-half[:0:-1], half]))
        self.shape = (len(self.row_t), len(self.column_a))
        a, t = np.meshgrid(self.column_a, self.row_t)
        self.s, self.t = (RADIUS * a).ravel(), t.ravel()
        self.y = np.interp(self.t, *_T_TO_Y)
        self.out = np.stack([np.sin(a), 0 * a, np.cos(a)], -1).reshape(-1, 3)
        self.base = self._skull(a, t).reshape(-1, 3)
        mean = self.base.copy()
        for amplitude, s0, t0, ss, st in _BUMPS:
            mean += amplitude * self.blob(s0, t0, ss, st)[:, None] * self.out
        self.mean = mean.astype(np.float32)
        self.triangles = grid_triangles(*self.shape)
        from frfw.data.synthetic.fields import deformation_fields

        self.fields = deformation_fields(self)

    def _skull(self, a: np.ndarray, t: np.ndarray) -> np.ndarray:
        keys = np.array(_PROFILE, np.float64)
        y0 = np.interp(self.row_t, *_T_TO_Y)
        rows = _smooth_table(keys[:, 0], keys[:, 1:], y0)
        y0 = y0[:, None]
        lift, width, front, back = (rows[:, k, None] for k in range(4))
        cos, sin = np.cos(a), np.sin(a)
        # A slightly squared front: faces are flatter than an ellipse.
        flat = 1.0 + 0.05 * np.sin(2 * a) ** 2 * smoothstep(t, -100, -30)
        x = width * sin * flat
        z = np.where(cos > 0, front * cos * flat, back * cos)
        rise = np.where(np.abs(a) < np.pi / 2, 1 - cos, 1.0)
        return np.stack([x, y0 - lift * rise, z], -1)

    def blob(self, s0: float, t0: float, ss: float, st: float) -> np.ndarray:
        """(V,) Gaussian at (s0, t0), and at (-s0, t0) where s0 is not zero.

        Heights are those of the closed mouth, else every field would step at the slit.
        """
        g = _gauss(self.s, s0, ss)
        if s0:
            g = g + _gauss(self.s, -s0, ss)
        return g * _gauss(self.y, t0, st)

    def locate(self, s: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (n, 4) vertex numbers and weights that interpolate the surface at chart points."""
        row = np.interp(t, self.row_t, np.arange(self.shape[0]))
        column = np.interp(np.asarray(s) / RADIUS, self.column_a, np.arange(self.shape[1]))
        r0 = np.minimum(row.astype(int), self.shape[0] - 2)
        c0 = np.minimum(column.astype(int), self.shape[1] - 2)
        fr, fc = row - r0, column - c0
        first = r0 * self.shape[1] + c0
        numbers = np.stack([first, first + 1, first + self.shape[1], first + self.shape[1] + 1], 1)
        weights = np.stack([(1 - fr) * (1 - fc), (1 - fr) * fc, fr * (1 - fc), fr * fc], 1)
        return numbers, weights.astype(np.float32)


def _smooth_table(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Interpolate table columns monotonically (no overshoot at the steps of the profile)."""
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(x, y, axis=0)(at)


def grid_triangles(rows: int, columns: int) -> np.ndarray:
    """(2 * (rows-1) * (columns-1), 3) int32 triangles of a grid, outward as ``rasterise`` asks."""
    number = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b = number[:-1, :-1].ravel(), number[:-1, 1:].ravel()
    c, d = number[1:, :-1].ravel(), number[1:, 1:].ravel()
    return np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])


def grid_normals(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(V, 3) unit normals of a grid surface from central differences."""
    grid = points.reshape(*shape, 3)
    across = np.empty_like(grid)
    across[:, 1:-1] = grid[:, 2:] - grid[:, :-2]
    across[:, 0], across[:, -1] = grid[:, 1] - grid[:, 0], grid[:, -1] - grid[:, -2]
    down = np.empty_like(grid)
    down[1:-1] = grid[2:] - grid[:-2]
    down[0], down[-1] = grid[1] - grid[0], grid[-1] - grid[-2]
    ax, ay, az = across[..., 0], across[..., 1], across[..., 2]
    bx, by, bz = down[..., 0], down[..., 1], down[..., 2]
    normal = np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -1)
    normal /= np.sqrt((normal * normal).sum(-1, keepdims=True)) + 1e-6
    return normal.reshape(-1, 3)


@lru_cache(maxsize=1)
def head_model() -> HeadModel:
    """Return the head model, built once a process."""
    return HeadModel()
