"""One 64-bit number a sample, a function of (seed, epoch, index): all its augmentation uses it."""

from __future__ import annotations

import numpy as np

_STEP = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def sample_keys(seed: int, epochs: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return (m,) uint64 well-mixed keys of the samples (SplitMix64's finaliser, chained).

    Args:
        epochs, indices: (m,) non-negative integers.
    """
    key = np.full(np.shape(indices), seed & _MASK, np.uint64)
    for values in (epochs, indices):
        key = mix(key ^ np.asarray(values).astype(np.uint64))
    return key


def mix(key: np.ndarray) -> np.ndarray:
    """One round of SplitMix64 (Steele et al., OOPSLA 2014) on uint64, wrapping around."""
    with np.errstate(over="ignore"):
        key = key + np.uint64(_STEP)
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return key ^ (key >> np.uint64(31))


def uniforms(keys: np.ndarray, count: int) -> np.ndarray:
    """Return (m, count) float64 in [0, 1): `count` independent numbers for each (m,) uint64 key."""
    with np.errstate(over="ignore"):
        steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_STEP)
        bits = mix(np.asarray(keys, np.uint64)[:, None] + steps[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
