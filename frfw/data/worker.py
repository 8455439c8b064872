"""What runs in a loader worker: turn requests for samples into batches, replace bad images."""

from __future__ import annotations

import faulthandler
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import get_worker_info

from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage
from frfw.errors import FrfwError

if TYPE_CHECKING:
    from frfw.data.augment.cpu import Augment

_ATTEMPTS = 64


class Batch(NamedTuple):
    """One micro-batch.

    Attributes:
        images: (m, 3, H, W) uint8 RGB, channels_last in memory.
        labels: (m,) int64.
        indices: (m,) int64 image numbers in the data set (of the replacement for a bad image).
        bad: (index, reason) of every image of this batch that was bad and replaced.
        keys: (m,) int64, the randomness of each sample, for augmentation on the device.
    """

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    bad: list[tuple[int, str]]
    keys: torch.Tensor


class Request(NamedTuple):
    """Which samples a worker shall load: (m,) int64 image numbers, uint64 keys of randomness."""

    indices: np.ndarray
    keys: np.ndarray


def parcel_length(count: int, size: int) -> int:
    """Bytes of a batch of `count` images: three int64 for each, and the pixels; whole lines."""
    return -(-count * (3 * 8 + size * size * 3) // 64) * 64


def parcel_views(buffer: torch.Tensor, count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return labels, indices, keys (3, m) int64 and pixels (m, size, size, 3) of a uint8 buffer."""
    cut = 3 * 8 * count
    numbers = buffer[:cut].view(torch.int64).view(3, count)
    return numbers, buffer[cut : cut + count * size * size * 3].view(count, size, size, 3)


class Parcel(NamedTuple):
    """A batch as a worker gives it.

    Attributes:
        buffer: uint8, see `parcel_views`; or the number of the shared slot that holds it.
        bad: as in `Batch`.
    """

    buffer: torch.Tensor | int
    bad: list[tuple[int, str]]


@dataclass
class Fetcher:
    """Loads one `Request` as a `Parcel`; picklable, so that it works under spawn.

    A worker writes its batches by turns to its slots of `slots` (workers * turns, bytes), memory
    that all processes share. New memory for each batch would cost a page fault every 4 KiB, and
    sending it a file and a message; together about a third of the time of decoding.
    """

    dataset: Dataset
    augment: Augment | None
    count: int
    slots: torch.Tensor | None = None
    turns: int = 0
    _turn: int = 0

    def __getitem__(self, request: Request) -> Parcel:
        worker = get_worker_info()
        if worker is None or self.slots is None:
            buffer = torch.empty(parcel_length(self.count, self.dataset.size), dtype=torch.uint8)
            return Parcel(buffer, self._fill(buffer, request))
        slot = worker.id * self.turns + self._turn
        self._turn = (self._turn + 1) % self.turns
        return Parcel(slot, self._fill(self.slots[slot], request))

    def _fill(self, buffer: torch.Tensor, request: Request) -> list[tuple[int, str]]:
        """Write the batch to `buffer`; return the bad images."""
        dataset, bad = self.dataset, []
        views = parcel_views(buffer, len(request.indices), dataset.size)
        numbers, pixels = (view.numpy() for view in views)
        chosen, keys = request.indices.copy(), request.keys
        plan = None if self.augment is None else self.augment.plan(keys, dataset.size)
        # One thing after another for the whole batch: its code stays in the processor's cache.
        encoded = [self._read(index) for index in chosen.tolist()]
        for row, (index, data, image) in enumerate(zip(chosen.tolist(), encoded, pixels)):
            try:
                dataset.load(index, image, data)
            except BadImage as error:
                bad.append((index, str(error)))
                chosen[row] = self._replace(index, int(keys[row]), image, bad)
        if plan is not None:
            self.augment.apply_all(pixels, plan)
        numbers[0], numbers[1], numbers[2] = dataset.labels[chosen], chosen, keys.view(np.int64)
        return bad

    def _read(self, index: int) -> bytes | None:
        """The image's bytes, or None where loading it will say what is wrong."""
        try:
            return self.dataset.read(index)
        except BadImage:
            return None

    def _replace(self, index: int, key: int, image: np.ndarray, bad: list[tuple[int, str]]) -> int:
        """Load to `image` what stands in for `index`, which depends on nothing but the key."""
        rng, wanted = np.random.default_rng(key), self._neighbour(index)
        for attempt in range(1, _ATTEMPTS):
            if attempt > 1 or wanted == index:
                wanted = int(rng.integers(len(self.dataset)))
            try:
                self.dataset.load(wanted, image)
                return wanted
            except BadImage as error:
                bad.append((wanted, str(error)))
        raise FrfwError(
            f"{_ATTEMPTS} images in a row are bad in {self.dataset.name}; the last: {bad[-1][1]}"
        )

    def _neighbour(self, index: int) -> int:
        """An image beside `index` of the same identity, or `index` where there is none."""
        labels = self.dataset.labels
        for other in (index + 1, index - 1):
            if 0 <= other < len(labels) and labels[other] == labels[index]:
                return other
        return index


class WorkerStart:
    """Prepares a worker: one thread each, and a stack dump on SIGUSR1 for when it hangs."""

    def __init__(self, dump_folder: str) -> None:
        self.dump_folder = dump_folder

    def __call__(self, worker_id: int) -> None:
        # A signal to the whole process group (scancel, Ctrl-C) is the trainer's to answer: it still
        # needs batches for the step at which it saves. The loader ends its workers by SIGKILL.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        torch.set_num_threads(1)
        cv2.setNumThreads(0)
        if hasattr(signal, "SIGUSR1"):
            # The file stays open as long as the worker: faulthandler writes to its descriptor.
            self.file = open(os.path.join(self.dump_folder, f"{os.getpid()}.txt"), "w")  # noqa: SIM115
            faulthandler.register(signal.SIGUSR1, file=self.file, all_threads=True)
