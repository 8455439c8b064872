"""Where the time of loading goes: images/s of every part."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
import torch

from frfw.data.augment import Augment, create_augment
from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage, decode
from frfw.data.decoders import candidates, usable
from frfw.data.loader import make_loader
from frfw.data.randomness import sample_keys
from frfw.data.sampler import ShuffledOrder
from frfw.errors import FrfwError

_DECODER = "decoder: "
_PARTS = ("read", "decode", "augment", "collate", "host to device")


def bench(
    dataset: Dataset,
    preset: str = "flip",
    batch: int = 128,
    images: int = 4000,
    workers: Sequence[int] = (0, 1, 2),
) -> dict[str, float]:
    """Return images/s by part, by decoder, and of the whole loader by number of workers.

    Parts run alone, one after another, in this process on one thread. A decoder that is not
    installed, or does not take these images, is left out.
    """
    return dict(measure(dataset, preset, batch, images, workers))


def measure(
    dataset: Dataset, preset: str, batch: int, images: int, workers: Sequence[int]
) -> Iterator[tuple[str, float]]:
    """Yield what `bench` returns, each rate when it is known."""
    order = ShuffledOrder(len(dataset), 0).order(0)
    encoded: list[bytes] = []
    yield "read", _rate(images, lambda: _read(dataset, np.resize(order, images), encoded))
    sample = [data for data in encoded[:4000] if _good(data)]
    if not sample:
        raise FrfwError(f"{dataset.name}: none of {images} images can be read")
    decoded: list[np.ndarray] = []
    yield (
        "decode",
        _rate(len(sample), lambda: decoded.extend(decode(d, dataset.size) for d in sample)),
    )
    yield from _decoder_rates(sample[:1000], dataset.size).items()
    augment = create_augment(preset, dataset.size)
    if augment is not None:
        yield "augment", _augment_rate(augment, decoded, dataset.size)
    yield "collate", _rate(len(decoded), lambda: _collate(decoded, batch))
    if torch.cuda.is_available():
        yield "host to device", _device_rate(decoded, batch)
    for count in workers:
        yield f"loader, {count} workers", _loader_rate(dataset, preset, batch, images, count)


def _augment_rate(augment: Augment, images: list[np.ndarray], size: int) -> float:
    keys = sample_keys(0, np.zeros(len(images), np.int64), np.arange(len(images)))

    def change() -> None:
        plan = augment.plan(keys, size)
        for row, image in enumerate(images):
            augment.apply(image, plan, row)

    augment.apply(images[0], augment.plan(keys[:64], size), 0)  # the first call is not counted
    return _rate(len(images), change)


def _read(dataset: Dataset, chosen: np.ndarray, into: list[bytes]) -> None:
    for index in chosen.tolist():
        try:
            into.append(dataset.read(index))
        except BadImage:
            continue


def _good(data: bytes) -> bool:
    try:
        decode(data)
    except BadImage:
        return False
    return True


def _rate(count: int, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def _decoder_rates(sample: list[bytes], size: int) -> dict[str, float]:
    cv2.setNumThreads(0)  # as in the loader's workers
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    decoders = usable(candidates(size)[0], sample[:8])
    seconds = dict.fromkeys(decoders, 0.0)
    for start in range(0, len(sample), 50):  # in turn, so that other work on the machine hits all
        for name, decoder in decoders.items():
            began = time.perf_counter()
            for data in sample[start : start + 50]:
                decoder(data)
            seconds[name] += time.perf_counter() - began
    torch.set_num_threads(threads)
    return {f"{_DECODER}{name}": len(sample) / spent for name, spent in seconds.items()}


def _collate(images: list[np.ndarray], batch: int) -> None:
    pixels = np.empty((batch, *images[0].shape), np.uint8)
    for row, image in enumerate(images):
        pixels[row % batch] = image


def _device_rate(images: list[np.ndarray], batch: int) -> float:
    pixels = torch.from_numpy(np.stack(images[:batch])).pin_memory()

    def copy() -> None:
        for _ in range(50):
            pixels.to("cuda", non_blocking=True)
        torch.cuda.synchronize()

    copy()
    return _rate(50 * len(pixels), copy)


def _loader_rate(dataset: Dataset, preset: str, batch: int, images: int, workers: int) -> float:
    steps = max(4, images // batch)
    loader = make_loader(
        dataset,
        ShuffledOrder(len(dataset), 0),
        global_batch=batch,
        micro_batch=batch,
        steps=steps + 2,
        augment=create_augment(preset, dataset.size),
        workers=workers,
    )
    for _ in range(2):  # starting the workers is not counted
        next(loader)

    def load() -> None:
        for _ in range(steps):
            next(loader)  # and dropped: a training does not keep its batches either

    rate = _rate(steps * batch, load)
    loader.close()
    return rate


def table(rates: dict[str, float]) -> str:
    """One line a part, the slowest one named; of a bench that broke off, what it had measured."""
    lines = [f"{name:<28} {rate:>10,.0f} images/s" for name, rate in rates.items()]
    parts = {name: rate for name, rate in rates.items() if name in _PARTS}
    if "collate" not in parts:  # the last one that is always measured
        return "\n".join(lines)
    lines += [f"{_DECODER + name:<28} {reason}" for name, reason in candidates(8)[1].items()]
    if "host to device" not in rates:
        lines.append(f"{'host to device':<28} not measured: no GPU here")
    slowest = min(parts, key=parts.get)
    together = 1 / sum(1 / rate for rate in parts.values())
    lines.append(f"bottleneck: {slowest}; all parts on one core: {together:,.0f} images/s")
    return "\n".join(lines)
