"""Project the head into an aligned crop: rotation, perspective, five-point similarity."""

from __future__ import annotations

import numpy as np

from frfw.data.synthetic.conditions import Conditions
from frfw.data.synthetic.head import head_model
from frfw.data.template import ARCFACE

# The template's five points on the chart of the head (s, t).
LANDMARKS = np.array([(-32, 0), (32, 0), (0, 36.2), (-28, 72), (28, 72)], np.float64)

_CENTRE = np.array([0.0, 20.0, 0.0], np.float32)


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3) float32 rotation; positive yaw turns to the picture's right, pitch looks down."""
    y, p, r = np.radians([yaw, pitch, roll])
    ry = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    rx = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    rz = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return (rz @ rx @ ry).astype(np.float32)


def rotate(vectors: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Rotate (V, 3) vectors; written out, as a BLAS product may round by the number of threads."""
    x, y, z = (np.ascontiguousarray(vectors[:, k], np.float32) for k in range(3))
    out = np.empty((len(x), 3), np.float32)
    for k in range(3):
        out[:, k] = x * r[k, 0] + y * r[k, 1] + z * r[k, 2]
    return out


def landmarks_3d(points: np.ndarray) -> np.ndarray:
    """(5, 3) positions of the five landmarks on a head's (V, 3) vertices."""
    numbers, weights = head_model().locate(LANDMARKS[:, 0], LANDMARKS[:, 1])
    return (points[numbers] * weights[..., None]).sum(1)


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[complex, complex]:
    """Least-squares similarity as (a, b): target = a * source + b with points as x + iy."""
    p, q = source[:, 0] + 1j * source[:, 1], target[:, 0] + 1j * target[:, 1]
    pc, qc = p - p.mean(), q - q.mean()
    a = (np.conj(pc) * qc).sum() / (np.abs(pc) ** 2).sum()
    return complex(a), complex(q.mean() - a * p.mean())


class Camera:
    """Maps head coordinates (mm) to the aligned crop.

    Args:
        points: (V, 3) head vertices; their landmarks are aligned to the template.
        conditions: angles, distance, landmark error and seed.
        size: side of the crop in pixels.
    """

    def __init__(self, points: np.ndarray, conditions: Conditions, size: int) -> None:
        c = conditions
        self.rotation = rotation(c.yaw, c.pitch, c.roll)
        self.distance = np.float32(c.distance)
        turned = self.turn(landmarks_3d(points))
        flat = self._perspective(turned).astype(np.float64)
        rng = np.random.default_rng([c.detail_seed, 5])
        flat += rng.normal(0, 1, (5, 2)) * c.landmark_error
        # A detector puts a hidden eye or corner on the visible outline: slightly inwards.
        hidden = np.clip((np.abs(c.yaw) - 55) / 35, 0, 1) * np.sign(c.yaw)
        far = [1, 4] if hidden > 0 else [0, 3]
        flat[far, 0] += 5.0 * hidden
        a, b = similarity(flat, ARCFACE * (size / 112.0))
        self.scale = abs(a)
        self._a, self._b = a, b

    def turn(self, points: np.ndarray) -> np.ndarray:
        """(V, 3) head coordinates -> (V, 3) camera coordinates, z towards the camera."""
        return rotate(points - _CENTRE, self.rotation)

    def _perspective(self, turned: np.ndarray) -> np.ndarray:
        near = self.distance / (self.distance - turned[:, 2:])
        return turned[:, :2] * near

    def project(self, turned: np.ndarray) -> np.ndarray:
        """(V, 3) camera coordinates -> (V, 2) float32 pixels of the crop."""
        flat = self._perspective(turned)
        ar, ai = np.float32(self._a.real), np.float32(self._a.imag)
        x = flat[:, 0] * ar - flat[:, 1] * ai + np.float32(self._b.real)
        y = flat[:, 0] * ai + flat[:, 1] * ar + np.float32(self._b.imag)
        return np.stack([x, y], 1)
