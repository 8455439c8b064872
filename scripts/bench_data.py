"""Decoders and the whole loader on one thread, on the same images, in one run.

    python scripts/bench_data.py DATA [--images 4000]

DATA is any source of frfw. torchcodec is measured where it is installed. In this process decoders
and loaders take turns batch by batch, so that what else the machine does hits all alike. A loader
with workers takes turns with the fastest decoder in blocks of batches, while its workers rest.
"""

from __future__ import annotations

import argparse
import io
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch

from frfw.data import create_augment, create_order, make_loader, open_source
from frfw.data.decoders import candidates
from frfw.data.loader import Loader

BLOCK, PREFETCHED = 12, 6  # batches
clock = time.perf_counter
cv2.setNumThreads(0)
torch.set_num_threads(1)


def usual(dataset, indices: np.ndarray, batch: int, workers: int) -> Iterator[object]:
    """Batches of the usual pipeline: PIL, random flip, ToTensor, Normalize for each sample."""
    from PIL import Image
    from torch.utils.data import DataLoader
    from torchvision import transforms

    change = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )

    class Usual(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(indices)

        def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
            image = Image.open(io.BytesIO(dataset.read(int(indices[i])))).convert("RGB")
            return change(image), int(dataset.labels[indices[i]])

    return iter(DataLoader(Usual(), batch, num_workers=workers))


def ours(dataset, preset: str, images: int, batch: int, workers: int) -> Loader:
    """frfw's loader."""
    steps = images // batch
    order = create_order("shuffled", dataset.labels)
    options = {"augment": create_augment(preset), "workers": workers, "steps": steps}
    return make_loader(dataset, order, global_batch=batch, micro_batch=batch, **options)


def in_turn(cases: dict[str, Callable[[], object]], times: int) -> dict[str, list[float]]:
    """Seconds of a call of each case, `times` calls of each, every other one timed.

    Each turn has another order. As in training, where one batch follows another of its kind, a case
    is called once more before it is timed: not with what the case before it left in the caches.
    """
    found: dict[str, list[float]] = {name: [] for name in cases}
    order = random.Random(0)
    for _ in range(times // 2):
        for name, call in order.sample(list(cases.items()), len(cases)):
            call()
            started = clock()
            call()
            found[name].append(clock() - started)
    return found


def decoding(decoder: Callable[[bytes], object], encoded: list[bytes], batch: int):
    """A call that decodes the next `batch` images."""
    images = itertools.cycle(encoded)

    def call() -> None:
        for data in itertools.islice(images, batch):
            decoder(data)

    return call


def in_blocks(
    batches: Iterator[object], decode: Callable[[], object], times: int
) -> tuple[list[float], list[float]]:
    """Mean seconds a batch of a loader with workers, and of decoding, in blocks by turns."""
    loading, decoding = [], []
    for _ in range(times // (PREFETCHED + BLOCK)):
        for _ in range(PREFETCHED):  # these were made while the decoder was measured
            next(batches)
        started = clock()
        for _ in range(BLOCK):
            next(batches)
        loading.append((clock() - started) / BLOCK)
        time.sleep(10 * loading[-1])  # the workers fill what they may prefetch, and rest
        for _ in range(PREFETCHED):  # the processor wakes up
            decode()
        started = clock()
        for _ in range(BLOCK):
            decode()
        decoding.append((clock() - started) / BLOCK)
    return loading, decoding


def main() -> None:
    """Measure some rounds; print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1])
    parser.add_argument(
        "--cpu-clock",
        action="store_true",
        help="count this process's CPU seconds, for a busy machine; with --workers 0 only",
    )
    a = parser.parse_args()
    if a.cpu_clock:
        global clock
        clock, a.workers = time.process_time, [0]
    dataset = open_source(a.data)
    indices = np.resize(create_order("shuffled", dataset.labels).order(0), a.images)
    encoded = [dataset.read(int(i)) for i in indices]
    seconds: dict[str, list[float]] = {}
    beside: dict[str, list[float]] = {}  # decoding in turn with a loader with workers
    steps = a.images // a.batch
    decoders, missing = candidates(dataset.size)
    for name, reason in missing.items():
        print(f"{name}: {reason}")
    for _ in range(a.rounds):
        cases = {f"decode, {n}": decoding(f, encoded, a.batch) for n, f in decoders.items()}
        found = {} if 0 in a.workers else in_turn(cases, steps - 2)
        for workers in a.workers:
            loaders: dict[str, Iterator[object]] = {
                f"loader, {preset}, {workers} workers": ours(
                    dataset, preset, a.images, a.batch, workers
                )
                for preset in ("flip", "standard", "degraded")
            }
            name = f"usual PIL pipeline, flip, {workers} workers"
            loaders[name] = usual(dataset, indices, a.batch, workers)
            if workers:
                for name, each in loaders.items():
                    loading, decoded = in_blocks(each, cases["decode, simplejpeg"], steps - 2)
                    found[name] = loading
                    beside.setdefault(name, []).extend(decoded)
            else:
                calls = {name: each.__next__ for name, each in loaders.items()}
                found |= in_turn(cases | calls, steps - 2)
            for each in loaders.values():
                if isinstance(each, Loader):
                    each.close()
        for name, values in found.items():
            seconds.setdefault(name, []).extend(values)
    rates = {name: a.batch / statistics.median(values) for name, values in seconds.items()}
    best = max(rate for name, rate in rates.items() if name.startswith("decode"))
    for name, rate in rates.items():
        share = rate / best
        if name in beside:  # of the decoder in the blocks next to the loader's
            share = statistics.median(d / l for d, l in zip(beside[name], seconds[name]))
        print(f"{name:<52} {rate:>8,.0f} images/s  {share:.2f} of the fastest decoder")


if __name__ == "__main__":
    main()
