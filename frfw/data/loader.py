"""Batches for training: a function of the step alone, whatever the number of workers."""

from __future__ import annotations

import logging
import os
import queue
import signal
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling

from frfw.data.dataset import Dataset
from frfw.data.randomness import sample_keys
from frfw.data.sampler import SampleStream, ShuffledOrder
from frfw.data.worker import (
    Batch,
    Fetcher,
    Parcel,
    Request,
    WorkerStart,
    parcel_length,
    parcel_views,
)
from frfw.errors import FrfwError
from frfw.values import number, whole

if TYPE_CHECKING:
    from frfw.data.augment.cpu import Augment

log = logging.getLogger("frfw.data")

_DRAWN_AT_ONCE = 4096  # samples: drawing for one batch alone takes 2 % of the time of loading it


class _Requests:
    """The samples of each micro-batch of one rank, from `start_step` up to `steps`."""

    def __init__(
        self,
        order: ShuffledOrder,
        micro_batch: int,
        accumulate: int,
        rank: int,
        world: int,
        start_step: int,
        steps: int,
        seed: int,
    ) -> None:
        self.order, self.micro_batch, self.accumulate = order, micro_batch, accumulate
        self.rank, self.world, self.start_step, self.steps = rank, world, start_step, steps
        self.seed = seed

    def __len__(self) -> int:
        return max(0, self.steps - self.start_step) * self.accumulate

    def __iter__(self) -> Iterator[Request]:
        stream, m = SampleStream(self.order), self.micro_batch
        parts = range(self.start_step * self.accumulate, self.steps * self.accumulate)
        ahead = -(-_DRAWN_AT_ONCE // m)
        for first in parts[::ahead]:
            last = min(first + ahead, parts.stop)
            drawn = stream.take(first * self.world * m, last * self.world * m)
            indices, epochs, places = (
                each.reshape(-1, self.world, m)[:, self.rank] for each in drawn
            )
            # An image that comes twice in an epoch gets its randomness from its place instead.
            which = places if self.order.repeats else indices
            yield from map(Request, indices, sample_keys(self.seed, epochs, which))


class Loader:
    """Iterator of `Batch`, one per micro-batch, in order.

    Attributes:
        bad_images: {image number: reason} of the bad images met so far.
        wait_seconds: time spent waiting for the latest batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        requests: _Requests,
        fetcher: Fetcher,
        *,
        workers: int,
        pin_memory: bool,
        prefetch: int,
        timeout: float,
        bad_limit: float,
        context: str | None,
    ) -> None:
        self.dataset, self.bad_limit, self.timeout = dataset, bad_limit, timeout
        self.bad_images: dict[int, str] = {}
        self.wait_seconds = 0.0
        self._seen, self._length = 0, len(requests)
        self._dumps = tempfile.TemporaryDirectory(prefix="frfw-loader-")
        self._fetcher, self._pin = fetcher, pin_memory
        if workers:
            # A worker has at most `prefetch` batches under way, and one is being copied here.
            fetcher.turns = prefetch + 1
            length = parcel_length(fetcher.count, dataset.size)
            number = workers * fetcher.turns
            shared = torch.UntypedStorage._new_shared(number * length)  # takes no memory yet
            fetcher.slots = torch.empty(0, dtype=torch.uint8).set_(shared).view(number, length)
        self._parcels: Iterable[Parcel] = map(fetcher.__getitem__, requests)
        if workers:
            self._parcels = DataLoader(
                fetcher,
                batch_size=None,
                sampler=requests,
                num_workers=workers,
                worker_init_fn=WorkerStart(self._dumps.name),
                multiprocessing_context=context,
                prefetch_factor=prefetch,
                timeout=timeout,
                in_order=True,
                generator=torch.Generator(),  # torch's own is the model's: nothing is drawn from it
            )
        self._iterator: Iterator[Parcel] | None = None

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> Batch:
        started = time.perf_counter()
        if self._iterator is None:
            self._iterator = iter(self._parcels)
        try:
            batch = self._opened(next(self._iterator))
        except (StopIteration, FrfwError):
            self.close()
            raise
        except (RuntimeError, queue.Empty) as error:
            raise self._explained(error) from error
        self.wait_seconds = time.perf_counter() - started
        self._seen += len(batch.labels)
        if batch.bad:
            self._account(batch)
        return batch

    def _opened(self, parcel: Parcel) -> Batch:
        """Copy a batch out of its slot, which the worker fills again after the next call."""
        buffer = parcel.buffer
        if isinstance(buffer, int):
            shared = self._fetcher.slots[buffer]
            buffer = torch.empty(shared.shape, dtype=torch.uint8, pin_memory=self._pin)
            buffer.copy_(shared)
        elif self._pin:
            buffer = buffer.pin_memory()
        numbers, pixels = parcel_views(buffer, self._fetcher.count, self.dataset.size)
        labels, indices, keys = numbers.unbind()
        return Batch(pixels.permute(0, 3, 1, 2), labels, indices, parcel.bad, keys)

    def _account(self, batch: Batch) -> None:
        """Log each bad image once; stop when more than the allowed share are bad."""
        for index, reason in batch.bad:
            if index not in self.bad_images:
                self.bad_images[index] = reason
                log.warning("bad image %d replaced: %s", index, reason)
        count, size = len(self.bad_images), len(self.dataset)
        seen = min(self._seen, size)
        if count > self.bad_limit * size or (seen >= 1000 and count > self.bad_limit * seen):
            worst = "; ".join(list(self.bad_images.values())[:10])
            self.close()
            raise FrfwError(
                f"{count} bad images among the {seen} seen of {self.dataset.name}, more than "
                f"data.bad_limit={self.bad_limit:g} allows: {worst}"
                + (f"; and {count - 10} more in the log" if count > 10 else "")
            )

    def _explained(self, error: Exception) -> RuntimeError:
        """Add the stacks of hung workers to torch's message, and shut the workers down."""
        text = str(error)
        if "timed out" in text:
            text = (
                f"no batch came for {self.timeout:.0f} s: a loader worker hangs (slow storage: "
                f"raise data.timeout). Where the workers were:\n{self._stacks()}"
            )
        self.close()
        return RuntimeError(text)

    def _stacks(self) -> str:
        if not hasattr(signal, "SIGUSR1"):
            return "(this system cannot dump the stack of another process)"
        for worker in getattr(self._iterator, "_workers", []):
            # Its file is there once the worker listens; before, the signal would kill it.
            listens = (Path(self._dumps.name) / f"{worker.pid}.txt").exists()
            if listens and worker.is_alive():
                os.kill(worker.pid, signal.SIGUSR1)
        time.sleep(0.5)
        return "\n".join(p.read_text() for p in sorted(Path(self._dumps.name).glob("*.txt")))

    def close(self) -> None:
        """End the workers; the loader gives no more batches."""
        workers = list(getattr(self._iterator, "_workers", []))
        if getattr(self._iterator, "_worker_pids_set", False):
            # torch raises in this process when a worker that it watches is killed; these are ours.
            signal_handling._remove_worker_pids(id(self._iterator))
            self._iterator._worker_pids_set = False
        for worker in workers:
            # A hung worker does not heed the polite shutdown, which would wait 5 s for each.
            if worker.is_alive():
                worker.kill()
        self._iterator = iter(())
        self._dumps.cleanup()


def make_loader(
    dataset: Dataset,
    order: ShuffledOrder,
    *,
    global_batch: int,
    micro_batch: int,
    accumulate: int = 1,
    rank: int = 0,
    world: int = 1,
    start_step: int = 0,
    steps: int,
    augment: Augment | None = None,
    seed: int = 0,
    workers: int = 0,
    pin_memory: bool | None = None,
    prefetch: int = 4,
    timeout: float = 50.0,
    bad_limit: float = 0.01,
    context: str | None = None,
) -> Loader:
    """Return the iterator over the micro-batches of this rank for steps start_step .. steps - 1.

    Step k uses the samples [k G, (k + 1) G) of the stream of `order` (G = global_batch), and rank r
    takes of its micro-batch a the slice [(a world + r) m, +m). The batches are the same for any
    number of workers and any `start_step`.

    Args:
        steps: total number of steps of the run (not counted from start_step).
        augment: as `create_augment` returns it.
        pin_memory: page-locked batches; by default where CUDA is there.
        prefetch: micro-batches prepared ahead by each worker.
        timeout: seconds after which a batch that does not come ends the run.
        bad_limit: share of bad images above which the run stops.
        context: how workers start: fork, spawn, forkserver or None for Python's choice.

    Raises:
        FrfwError: the batch sizes do not fit together; a number that cannot be.
    """
    if global_batch != micro_batch * accumulate * world:
        raise FrfwError(
            f"global batch {global_batch} is not micro batch {micro_batch} x accumulation "
            f"{accumulate} x {world} processes"
        )
    workers, prefetch = whole(workers, "data.workers", 0), whole(prefetch, "data.prefetch", 1)
    timeout = number(timeout, "data.timeout", 1)  # torch takes 0 for "wait for ever"
    bad_limit = number(bad_limit, "data.bad_limit", 0, 1)
    requests = _Requests(order, micro_batch, accumulate, rank, world, start_step, steps, seed)
    return Loader(
        dataset,
        requests,
        Fetcher(dataset, augment, micro_batch),
        workers=workers,
        pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
        prefetch=prefetch,
        timeout=timeout,
        bad_limit=bad_limit,
        context=context,
    )


def default_workers(processes: int = 1) -> int:
    """Loader workers for each of `processes` on this machine: its cores shared out, 8 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(8, (cores or 1) // max(1, processes)))
