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
from frfw.data.randomness import sample_keys
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
    """Which samples a worker shall load: (m,) image numbers, epochs, places in the epoch."""

    indices: np.ndarray
    epochs: np.ndarray
    places: np.ndarray


class Parcel(NamedTuple):
    """A batch as it leaves a worker: one buffer, since each tensor sent costs a file and a message.

    Attributes:
        buffer: uint8; labels, indices and keys as (3, m) int64, then (m, size, size, 3) pixels.
        count, size: m and the side of the images.
        bad: as in `Batch`.
    """

    buffer: torch.Tensor
    count: int
    size: int
    bad: list[tuple[int, str]]

    def views(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (3, m) int64 and (m, size, size, 3) uint8 that share the buffer's memory."""
        cut = 3 * 8 * self.count
        pixels = self.buffer[cut:].view(self.count, self.size, self.size, 3)
        return self.buffer[:cut].view(torch.int64).view(3, self.count), pixels

    def open(self) -> Batch:
        """Return the batch, on the same memory."""
        numbers, pixels = self.views()
        return Batch(pixels.permute(0, 3, 1, 2), numbers[0], numbers[1], self.bad, numbers[2])


def _parcel(count: int, size: int, bad: list[tuple[int, str]]) -> Parcel:
    """Make an empty parcel; a worker's lies in shared memory at once and is never copied there."""
    length = count * (3 * 8 + size * size * 3)
    if get_worker_info() is None:
        return Parcel(torch.empty(length, dtype=torch.uint8), count, size, bad)
    storage = torch.UntypedStorage._new_shared(length)
    return Parcel(torch.empty(0, dtype=torch.uint8).set_(storage), count, size, bad)


@dataclass
class Fetcher:
    """Loads one `Request` as a `Parcel`; picklable, so that it works under spawn."""

    dataset: Dataset
    augment: Augment | None
    seed: int
    repeats: bool

    def __getitem__(self, request: Request) -> Parcel:
        dataset, count = self.dataset, len(request.indices)
        parcel = _parcel(count, dataset.size, [])
        numbers, pixels = (view.numpy() for view in parcel.views())
        chosen = request.indices.copy()
        # An image that comes twice in an epoch gets its randomness from its place instead.
        keys = sample_keys(self.seed, request.epochs, request.places if self.repeats else chosen)
        plan = None if self.augment is None else self.augment.plan(keys, dataset.size)
        for row, (index, key) in enumerate(zip(chosen.tolist(), keys.tolist())):
            image, chosen[row] = self._good_image(index, key, parcel.bad)
            if plan is None:
                pixels[row] = image
            else:
                self.augment.apply(image, plan, row, pixels[row])
        numbers[0], numbers[1], numbers[2] = dataset.labels[chosen], chosen, keys.view(np.int64)
        return parcel

    def _good_image(
        self, index: int, key: int, bad: list[tuple[int, str]]
    ) -> tuple[np.ndarray, int]:
        """Load image `index`, or a replacement that depends on nothing but the key."""
        rng, wanted = None, index
        for attempt in range(_ATTEMPTS):
            try:
                return self.dataset[wanted], wanted
            except BadImage as error:
                bad.append((wanted, str(error)))
            if attempt == 0:
                wanted = self._neighbour(index)
            if attempt > 0 or wanted == index:
                rng = rng or np.random.default_rng(key)
                wanted = int(rng.integers(len(self.dataset)))
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
