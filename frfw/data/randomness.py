"""One 64-bit number a sample, a function of (seed, epoch, index): all its augmentation uses it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# Arrays, since NumPy warns where numbers of its own wrap around, and arrays may.
_STEP = np.array([0x9E3779B97F4A7C15], np.uint64)
_SHIFTS = [np.array([by], np.uint64) for by in (30, 27, 31, 11)]
_FACTORS = [np.array([by], np.uint64) for by in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)]
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
    key = key + _STEP
    key ^= key >> _SHIFTS[0]
    key *= _FACTORS[0]
    key ^= key >> _SHIFTS[1]
    key *= _FACTORS[1]
    key ^= key >> _SHIFTS[2]
    return key


def uniforms(keys: np.ndarray, count: int) -> np.ndarray:
    """Return (m, count) float64 in [0, 1): `count` independent numbers for each (m,) uint64 key."""
    bits = mix(np.asarray(keys, np.uint64)[:, None] + _steps(count))
    bits >>= _SHIFTS[3]
    return bits * 2.0**-53


@lru_cache(maxsize=4)
def _steps(count: int) -> np.ndarray:
    return np.arange(1, count + 1, dtype=np.uint64) * _STEP
