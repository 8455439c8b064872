"""Partial FC: all classes of the batch and a random share of the others.

Source: An et al., "Partial FC: Training 10 Million Identities on a Single Machine", 2021; the
correction is that of sampled softmax (Jean et al., 2015), here with inclusion probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_MULTIPLIERS = (-7046029254386353131, -4658895280553007687, -7723592293110705685)


@dataclass
class Active:
    """The classes of a step on this process.

    Attributes:
        classes: (n,) positions among the classes held, ascending.
        rows: (n * K,) their rows of the weight.
        weights: (n,) how many classes each stands for in the sum over negatives; None: itself.
    """

    classes: Tensor
    rows: Tensor
    weights: Tensor | None

    def gradient(self, values: Tensor, shape: torch.Size) -> Tensor:
        """The weight's gradient as a sparse tensor: only these rows exist."""
        return torch.sparse_coo_tensor(
            self.rows[None], values, shape, is_coalesced=True, check_invariants=False
        )


class ClassSampler:
    """Draws the classes of a step. The draw depends on (seed, step, class) alone.

    Every class that is not in the batch takes part with probability `rate`, independently, so
    that the choice does not depend on the number of processes and that a negative which stands
    for 1 / rate others makes the sum over negatives an unbiased estimate of the full one. Only a
    process that would have no class at all takes the one whose number was lowest: with n classes
    a process that happens once in 1 / (1 - rate)^n steps.

    Args:
        rate: in (0, 1].
        seed: of the run.
        corrected: weigh sampled negatives by 1 / rate. Without it (as in the Partial FC paper)
            the sum is over the sampled classes only.
    """

    def __init__(self, rate: float, seed: int, corrected: bool) -> None:
        self.rate, self.seed, self.corrected = rate, seed, corrected

    def __call__(
        self, labels: Tensor, start: int, stop: int, centres: int, step: Tensor, dtype: torch.dtype
    ) -> Active:
        """Choose among classes [start, stop) for the (B,) labels of the global batch."""
        numbers = torch.arange(start, stop, device=labels.device)
        drawn = uniform(numbers, self.seed, step)
        # Without a mask, whose number of entries Python would have to wait for.
        here = (labels >= start) & (labels < stop)
        samples = torch.zeros_like(numbers)
        positive = samples.index_add_(0, torch.where(here, labels - start, 0), here.long()) > 0
        chosen = (drawn < self.rate) | positive
        lowest = drawn.argmin(0, keepdim=True)  # a process always has something to compute
        chosen.index_copy_(0, lowest, chosen[lowest] | ~chosen.any())
        classes = chosen.nonzero()[:, 0]  # the one wait for the device
        offsets = torch.arange(centres, device=labels.device)
        rows = (classes[:, None] * centres + offsets).flatten()
        weights = None
        if self.corrected:
            weights = torch.where(positive[classes], 1.0, 1 / self.rate).to(dtype)
        return Active(classes, rows, weights)


def joined(gradient: Tensor) -> Tensor:
    """A sparse gradient of the weight with every row once; (C * K, D), the same if it is so."""
    if gradient.is_coalesced():
        return gradient
    rows = gradient._indices()[0]
    if not bool((rows[1:] > rows[:-1]).all()):
        return gradient.coalesce()  # of several backward passes
    # Autograd forgets that it is so already, and joining would sort and copy it.
    return torch.sparse_coo_tensor(
        rows[None], gradient._values(), gradient.shape, is_coalesced=True, check_invariants=False
    )


def uniform(numbers: Tensor, seed: int, step: Tensor) -> Tensor:
    """One number in [0, 1) for each int64 of `numbers`, a function of (seed, step, number).

    A multiply-and-shift hash on the device; integer products wrap around.
    """
    start = (seed * 0x5851F42D + 2**63) % 2**64 - 2**63  # as int64, which wraps around
    value = numbers * _MULTIPLIERS[0] + step * _MULTIPLIERS[1] + start
    for multiplier in (_MULTIPLIERS[2], _MULTIPLIERS[0]):
        value = (value ^ _shift(value, 31)) * multiplier
    value = _shift(value ^ _shift(value, 29), 11)  # 53 bits
    return value.to(torch.float64) * 2.0**-53


def _shift(value: Tensor, bits: int) -> Tensor:
    """Logical shift to the right: torch's own keeps the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
