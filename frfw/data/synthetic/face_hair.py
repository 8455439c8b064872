"""Where hair grows on the face: eyebrows and beards as coverage of the skin."""

from __future__ import annotations

import cv2
import numpy as np

from frfw.data.synthetic import chart
from frfw.data.synthetic.identity import Identity


def brow_cover(identity: Identity) -> np.ndarray:
    """(H, W) float32 coverage of the person's eyebrows."""
    rng = np.random.default_rng([identity.seed, identity.number, 47])
    thick, arch, inner, outer, strength, slope = identity.brow
    u = np.linspace(0, 1, 14)
    s = inner + (outer - inner) * u
    middle = -15.5 - arch * np.sin(np.pi * np.minimum(u / 0.68, 1.0) * 0.5) ** 2
    middle += arch * 0.9 * np.clip((u - 0.62) / 0.38, 0, 1) ** 1.5 + slope * (u - 0.5)
    half = 0.5 * thick * (0.75 + 0.5 * np.sin(np.pi * (0.15 + 0.6 * u))) * (1 - 0.75 * u**4)
    body = np.concatenate([np.stack([s, middle - half], 1), np.stack([s, middle + half], 1)[::-1]])
    hairs = []
    for k in range(26):
        v = (k + rng.random()) / 26
        i = v * 13
        at = np.array([np.interp(i, np.arange(14), s), np.interp(i, np.arange(14), middle)])
        reach = np.interp(i, np.arange(14), half)
        lean = np.array([1.6 + 2.4 * v, -1.5 + 2.6 * v]) * 0.9
        start = at + np.array([0, rng.uniform(-0.9, 0.9) * reach])
        hairs.append((np.stack([start - lean, start + lean]), 1))
    both = [body, chart.mirrored(body)]
    lines = hairs + [(chart.mirrored(line), w) for line, w in hairs]
    cover = 0.72 * chart.region(both, 0.5) + 0.4 * chart.strokes(lines, 0.25)
    return np.clip(cover * strength, 0, 0.95)


def beard_cover(style: str, variant: int) -> np.ndarray:
    """(H, W) float32 coverage of a beard by name of `BEARDS`."""
    s, t = chart.grid()
    if style == "none":
        return np.zeros((chart.SKIN[1], chart.SKIN[0]), np.float32)
    rng = np.random.default_rng([variant, 53])
    wide = np.abs(s)
    moustache = np.exp(-0.5 * ((wide - 12) / 12) ** 4) * np.exp(-0.5 * ((t - 58.5) / 4.0) ** 2)
    chin = np.exp(-0.5 * (s / 21) ** 4) * np.clip((t - 84) / 5, 0, 1)
    jaw_line = np.interp(wide, [0, 28, 36, 60, 80, 95], [86, 84, 60, 48, 14, 5])
    jaw = np.clip((t - jaw_line) / 7, 0, 1) * np.clip((100 - wide) / 8, 0, 1)
    end = np.clip((126 - t) / 8, 0, 1)
    cover = {
        "stubble": 0.5 * np.maximum(np.maximum(jaw, chin), moustache),
        "moustache": 0.95 * moustache,
        "goatee": 0.92 * np.maximum(moustache * 0.9, chin * np.clip((24 - wide) / 4, 0, 1)),
        "full": 0.93 * np.maximum(np.maximum(jaw, chin), moustache),
    }[style] * end
    grain = rng.normal(0, 1, (chart.SKIN[1] // 2, chart.SKIN[0] // 2)).astype(np.float32)
    grain = cv2.resize(grain, chart.SKIN, interpolation=cv2.INTER_LINEAR)
    return np.clip(cover * (0.88 + 0.25 * grain), 0, 0.96).astype(np.float32)
