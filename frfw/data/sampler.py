"""In which order images come: a function of (seed, epoch), so nothing about it need be saved.

The stream of samples is order(0), order(1), ... end to end; global batch k is the k-th slice of
it. A batch may straddle two epochs, so no image is dropped and a set may be smaller than a batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from frfw.errors import FrfwError, nearest
from frfw.values import whole


class ShuffledOrder:
    """Every image once an epoch, in a new random order each time.

    Attributes:
        epoch_size: samples an epoch.
        repeats: whether an image may come more than once in an epoch.
    """

    repeats = False

    def __init__(self, n: int, seed: int = 0) -> None:
        if n < 1:
            raise FrfwError("there is no image to draw from")
        self.epoch_size, self.seed = int(n), int(seed)

    def rng(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, 0x5A])

    def order(self, epoch: int) -> np.ndarray:
        """Return the (epoch_size,) int64 image numbers of an epoch."""
        return self.rng(epoch).permutation(self.epoch_size)


class SequentialOrder(ShuffledOrder):
    """Every image once an epoch, in the order of the set."""

    def order(self, epoch: int) -> np.ndarray:
        return np.arange(self.epoch_size)


class WeightedOrder(ShuffledOrder):
    """Identities drawn in proportion to (number of their images) ** power.

    power 0 gives every identity the same number of samples ("balanced"), 0.5 the square-root
    frequency of Mahajan et al. (ECCV 2018), 1 is the plain frequency. An epoch has as many samples
    as the set has images. Within an identity the images take turns: none comes a second time in an
    epoch before all have come once.
    """

    repeats = True

    def __init__(self, labels: np.ndarray, seed: int = 0, power: float = 0.0) -> None:
        super().__init__(len(labels), seed)
        self._by_label = np.argsort(labels, kind="stable")
        self._counts = np.bincount(labels)
        self._first = np.cumsum(self._counts) - self._counts
        weight = np.where(self._counts > 0, self._counts.astype(float) ** power, 0.0)
        self._share = weight / weight.sum() * self.epoch_size

    def order(self, epoch: int) -> np.ndarray:
        rng = self.rng(epoch)
        # Systematic rounding: each identity gets floor or ceil of its share, the sum is exact.
        # It walks the identities in random order, so that neighbours do not share their rounding.
        walk = rng.permutation(len(self._share))
        edges = np.floor(np.cumsum(self._share[walk]) + rng.random())
        edges[-1] = self.epoch_size
        quota = np.zeros(len(walk), np.int64)
        quota[walk] = np.diff(edges, prepend=0).astype(np.int64)
        label = np.repeat(np.arange(len(quota)), self._counts)
        keys = rng.random(self.epoch_size)
        place = np.lexsort((keys, label))  # images of each identity in random order
        rank = np.arange(self.epoch_size) - self._first[label]
        full, rest = np.divmod(quota, np.maximum(self._counts, 1))
        times = full[label] + (rank < rest[label])
        return rng.permutation(np.repeat(self._by_label[place], times))


class PKOrder(ShuffledOrder):
    """Groups of K images of one identity, P different identities in a row, for pair-based losses.

    An epoch visits every identity with at least `minimum` images once (the last ones wait for
    another epoch where P does not divide their number); an identity with fewer than K images
    repeats some. Set the global batch to P * K (or a multiple).

    Raises:
        FrfwError: fewer than P identities have `minimum` images.
    """

    repeats = True

    def __init__(
        self, labels: np.ndarray, seed: int = 0, p: int = 16, k: int = 4, minimum: int = 2
    ) -> None:
        super().__init__(len(labels), seed)
        self.p = p = whole(p, "data.sampler.p", 1)
        self.k = k = whole(k, "data.sampler.k", 1)
        minimum = whole(minimum, "data.sampler.minimum", 1)
        self._by_label = np.argsort(labels, kind="stable")
        self._counts = np.bincount(labels)
        self._first = np.cumsum(self._counts) - self._counts
        self._eligible = np.flatnonzero(self._counts >= minimum)
        if len(self._eligible) < p:
            raise FrfwError(
                f"sampler pk: only {len(self._eligible)} identities have at least {minimum} "
                f"images, fewer than p={p}: lower data.sampler.p or data.sampler.minimum"
            )
        self.epoch_size = len(self._eligible) // p * p * k

    def order(self, epoch: int) -> np.ndarray:
        rng = self.rng(epoch)
        chosen = rng.permutation(self._eligible)[: self.epoch_size // self.k]
        counts = self._counts[chosen]
        # Shuffled ranks of each identity's images, cut to K; short ones go round again.
        size = counts.sum()
        group = np.repeat(np.arange(len(chosen)), counts)
        start = np.cumsum(counts) - counts
        images = self._by_label[np.arange(size) - start[group] + self._first[chosen][group]]
        images = images[np.lexsort((rng.random(size), group))]
        take = np.arange(self.k)[None, :] % counts[:, None]
        return images[start[:, None] + take].reshape(-1)


class SampleStream:
    """Slices of order(0) ++ order(1) ++ ...; keeps the two latest epochs at most."""

    def __init__(self, order: ShuffledOrder) -> None:
        self.order, self._epochs = order, {}

    def take(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (stop - start,) int64 image numbers, their epochs, their places in the epoch."""
        size = self.order.epoch_size
        position = np.arange(start, stop)
        epochs, places = np.divmod(position, size)
        indices = np.empty(stop - start, np.int64)
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            indices[here] = self._epoch(epoch)[places[here]]
        return indices, epochs, places

    def _epoch(self, epoch: int) -> np.ndarray:
        if epoch not in self._epochs:
            self._epochs = {e: o for e, o in self._epochs.items() if e == epoch - 1}
            self._epochs[epoch] = self.order.order(epoch)
        return self._epochs[epoch]


SAMPLERS = ("shuffled", "sequential", "balanced", "square_root", "pk")


def create_order(name: str, labels: np.ndarray, seed: int = 0, **params: Any) -> ShuffledOrder:
    """Make an order by name: shuffled, sequential, balanced, square_root or pk(p, k, minimum)."""
    if name not in SAMPLERS:
        raise FrfwError(
            f"there is no sampler {name!r}.{nearest(name, SAMPLERS)} Choose {', '.join(SAMPLERS)}"
        )
    if params and name != "pk":
        raise FrfwError(f"sampler {name} takes no {', '.join(sorted(params))}")
    if name == "pk":
        unknown = set(params) - {"p", "k", "minimum"}
        if unknown:
            raise FrfwError(f"sampler pk has no {unknown.pop()!r}: it takes p, k and minimum")
        return PKOrder(labels, seed, **params)
    if name in ("balanced", "square_root"):
        return WeightedOrder(labels, seed, 0.0 if name == "balanced" else 0.5)
    return (ShuffledOrder if name == "shuffled" else SequentialOrder)(len(labels), seed)
