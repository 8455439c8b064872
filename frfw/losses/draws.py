"""Normal draws that are a function of (seed, step, index), the same on every device and rank."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_FACTOR = 0x45D9F3B  # below 2^31, so that the product with 32 bits fits into int64


def standard_normal(seed: int, step: Tensor, index: Tensor) -> Tensor:
    """Return float64 draws from N(0, 1), one for each of `index` (B,) int64.

    `step` is an int64 scalar tensor, so that a counter on the device needs no synchronisation.
    """
    base = torch.full_like(index, seed & _MASK)
    bits = _mix(_mix(_mix(base) ^ (step & _MASK)) ^ (index & _MASK))
    first = (_mix(bits ^ 0x2545F491).double() + 1) / (_MASK + 2)  # in (0, 1)
    second = _mix(bits ^ 0x5BD1E995).double() / (_MASK + 1)
    return torch.sqrt(-2 * torch.log(first)) * torch.cos(2 * math.pi * second)


def _mix(x: Tensor) -> Tensor:
    """Return a bijective hash of 32-bit values held in int64."""
    for _ in range(2):
        x = ((x ^ (x >> 16)) * _FACTOR) & _MASK
    return x ^ (x >> 16)
