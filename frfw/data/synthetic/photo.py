"""The photograph around and after the drawing: background, colour, blur, noise, resolution."""

from __future__ import annotations

import cv2
import numpy as np

from frfw.data.synthetic.conditions import Conditions


def background(c: Conditions, size: int) -> np.ndarray:
    """(size, size, 3) uint8 background in display RGB: soft gradients, shapes, lights."""
    rng = np.random.default_rng([c.detail_seed, 73])
    half, cells = size // 2 + 1, int(rng.integers(2, 7))
    base = rng.uniform(15, 235) + rng.normal(0, 26, 3)
    patch = base + rng.normal(0, 22, (cells, cells, 1)) + rng.normal(0, 18, (cells, cells, 3))
    picture = cv2.resize(patch.astype(np.float32), (half, half), interpolation=cv2.INTER_CUBIC)
    for _ in range(int(rng.integers(0, 7))):
        colour = base + rng.normal(0, 55) + rng.normal(0, 25, 3)
        colour = tuple(float(v) for v in colour)
        x, y, w, h = rng.uniform(-0.2, 1.1, 4) * half
        if rng.random() < 0.6:
            corners = [(x, y), (x + w * 0.5, y + h * 0.1), (x + w * 0.5, y + h), (x, y + h)]
            cv2.fillConvexPoly(picture, np.array(corners).astype(np.int32), colour)
        else:
            cv2.circle(picture, (int(x), int(y)), int(abs(w) * 0.2 + 2), colour, -1)
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    sigma = float(rng.uniform(0.3, 2.6)) * size / 112
    picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)


def develop(picture: np.ndarray, c: Conditions) -> np.ndarray:
    """Exposure, contrast, blur, low resolution and noise on a uint8 RGB picture; uint8 out."""
    size = picture.shape[0]
    picture = cv2.LUT(picture, _tones(c))
    if c.motion[0] > 1:
        picture = cv2.filter2D(picture, -1, _motion(*c.motion, scale=size / 112))
    if c.blur > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), c.blur * size / 112)
    if c.low and c.low < size:
        small = cv2.resize(picture, (c.low, c.low), interpolation=cv2.INTER_AREA)
        picture = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
    if c.noise > 0:
        rng = np.random.default_rng([c.detail_seed, 79])
        grain = rng.standard_normal((2, size, size), np.float32) * np.float32(0.8 * c.noise)
        grain = np.rint(grain).astype(np.int16)
        noisy = picture.astype(np.int16)
        noisy += grain[0][..., None]  # brightness in all channels, colour in two
        noisy[..., 0] += grain[1]
        noisy[..., 2] -= grain[1]
        picture = np.clip(noisy, 0, 255).astype(np.uint8)
    return picture


def _tones(c: Conditions) -> np.ndarray:
    """(256,) uint8 tone curve: exposure, gamma, and a soft shoulder instead of clipping."""
    x = np.linspace(0, 1, 256) * 2.0 ** (c.exposure / 2.2)
    x = np.where(x > 0.8, 0.8 + 0.2 * np.tanh((x - 0.8) * 5), x)
    return np.clip(255 * x**c.gamma + 0.5, 0, 255).astype(np.uint8)


def _motion(length: float, angle: float, scale: float) -> np.ndarray:
    side = int(length * scale) | 1
    kernel = np.zeros((side, side), np.float32)
    half = side / 2 * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    middle = side // 2
    start, stop = np.round(middle - half).astype(int), np.round(middle + half).astype(int)
    cv2.line(kernel, tuple(start.tolist()), tuple(stop.tolist()), 1.0)
    return kernel / max(kernel.sum(), 1e-6)
