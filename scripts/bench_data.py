"""Decoders and the whole loader on one thread, on the same images, in one run.

    python scripts/bench_data.py DATA [--images 4000]

DATA is any source of frfw. torchcodec is measured where it is installed.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch

from frfw.data import create_augment, create_order, make_loader, open_source
from frfw.data.decoders import candidates

clock = time.perf_counter
cv2.setNumThreads(0)
torch.set_num_threads(1)


def usual(dataset, indices: np.ndarray, batch: int, workers: int) -> float:
    """images/s of the usual pipeline: PIL, random flip, ToTensor, Normalize for each sample."""
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

    iterator = iter(DataLoader(Usual(), batch, num_workers=workers))
    return timed(lambda: next(iterator), len(indices) // batch - 2, batch)


def ours(dataset, preset: str, images: int, batch: int, workers: int) -> float:
    """images/s of frfw's loader."""
    steps = images // batch
    order = create_order("shuffled", dataset.labels)
    options = {"augment": create_augment(preset), "workers": workers, "steps": steps}
    loader = make_loader(dataset, order, global_batch=batch, micro_batch=batch, **options)
    rate = timed(lambda: next(loader), steps - 2, batch)
    loader.close()
    return rate


def timed(work: Callable[[], object], times: int, each: int) -> float:
    """images/s over `times` calls after one that does not count."""
    work()
    started = clock()
    for _ in range(times):
        work()
    return times * each / (clock() - started)


def main() -> None:
    """Measure three rounds in turn; print medians and ratios."""
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
    rates: dict[str, list[float]] = {}
    decoders, missing = candidates(dataset.size)
    for name, reason in missing.items():
        print(f"{name}: {reason}")
    for _ in range(a.rounds):
        for name, function in decoders.items():
            source = iter(encoded)
            rate = timed(lambda f=function, s=source: f(next(s)), len(encoded) - 1, 1)
            rates.setdefault(f"decode, {name}", []).append(rate)
        for workers in a.workers:
            for preset in ("flip", "standard", "degraded"):
                rate = ours(dataset, preset, a.images, a.batch, workers)
                rates.setdefault(f"loader, {preset}, {workers} workers", []).append(rate)
            rate = usual(dataset, indices, a.batch, workers)
            rates.setdefault(f"usual PIL pipeline, flip, {workers} workers", []).append(rate)
    found = {name: statistics.median(values) for name, values in rates.items()}
    best = max(rate for name, rate in found.items() if name.startswith("decode"))
    for name, rate in found.items():
        print(f"{name:<52} {rate:>8,.0f} images/s  {rate / best:.2f} of the fastest decoder")


if __name__ == "__main__":
    main()
