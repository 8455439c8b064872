"""The photograph around and after the drawing: background, colour, blur, noise, resolution."""

from __future__ import annotations

import cv2
import numpy as np

from frfw.data.synthetic.conditions import Conditions


def background(c: Conditions, size: int) -> np.ndarray:
    """(size, size, 3) float32 background in display RGB: soft gradients, shapes, lights."""
    rng = np.random.default_rng([c.scene, 73])
    cells = int(rng.integers(2, 7))
    base = rng.uniform(15, 235, 3)
    patch = base + rng.normal(0, rng.uniform(8, 55), (cells, cells, 3))
    picture = cv2.resize(patch.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    for _ in range(int(rng.integers(0, 7))):
        colour = tuple(float(v) for v in np.clip(base + rng.normal(0, 70, 3), 0, 255))
        x, y, w, h = rng.uniform(-0.2, 1.1, 4) * size
        if rng.random() < 0.6:
            corners = np.array(
                [(x, y), (x + w * 0.5, y + h * 0.1), (x + w * 0.5, y + h), (x, y + h)]
            )
            cv2.fillConvexPoly(picture, corners.astype(np.int32), colour, cv2.LINE_8)
        else:
            cv2.circle(picture, (int(x), int(y)), int(abs(w) * 0.2 + 2), colour, -1)
    sigma = float(rng.uniform(0.4, 5.0)) * size / 112
    picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    return np.clip(picture, 0, 255)


def develop(picture: np.ndarray, c: Conditions) -> np.ndarray:
    """Exposure, contrast, blur, low resolution and noise on a float32 RGB picture; uint8 out."""
    size = picture.shape[0]
    gain = 2.0 ** (c.exposure / 2.2)
    picture = picture * (gain / 255.0)
    # A soft shoulder instead of clipping, as cameras have.
    picture = np.minimum(picture, 0.8 + 0.2 * np.tanh(np.maximum(picture - 0.8, 0) * 5))
    if c.gamma != 1.0:
        picture = cv2.pow(np.maximum(picture, 0), c.gamma)
    picture *= 255.0
    if c.motion[0] > 1:
        picture = cv2.filter2D(picture, -1, _motion(*c.motion, scale=size / 112))
    if c.blur > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), c.blur * size / 112)
    if c.low and c.low < size:
        small = cv2.resize(picture, (c.low, c.low), interpolation=cv2.INTER_AREA)
        picture = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    if c.noise > 0:
        rng = np.random.default_rng([c.scene, 79])
        grain = rng.standard_normal((size, size, 2), np.float32)
        picture = picture + (c.noise * 0.8) * grain[..., :1]
        picture[..., ::2] += (c.noise * 0.6) * grain[..., 1:]
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def _motion(length: float, angle: float, scale: float) -> np.ndarray:
    side = int(length * scale) | 1
    kernel = np.zeros((side, side), np.float32)
    half = side / 2 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    middle = side // 2
    start, stop = np.round(middle - half).astype(int), np.round(middle + half).astype(int)
    cv2.line(kernel, tuple(start.tolist()), tuple(stop.tolist()), 1.0)
    return kernel / max(kernel.sum(), 1e-6)
