"""The steps' micro-batches of this rank, and how long the loop waited for them."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frfw.data import create_augment, default_workers, make_loader
from frfw.data.augment import preset_strengths
from frfw.errors import FrfwError

if TYPE_CHECKING:
    from frfw.training.build import Parts


@dataclass(frozen=True)
class Phase:
    """Steps start .. stop - 1 take their samples from the beginning of `order` on.

    A run is one phase, or with offline mining one for each set of triplets. `seed` is that of the
    augmentation.
    """

    order: Any
    seed: int
    start: int
    stop: int


class Batches:
    """Iterates over optimizer steps, each a list of `accumulate` micro-batches.

    Args:
        again: the one step `start_step` alone, read in this process: to look at it once more.

    Attributes:
        waited: seconds that the last step's batches were waited for.
    """

    def __init__(self, parts: Parts, start_step: int, again: bool = False) -> None:
        plan, phase = parts.plan, parts.phase
        self.waited = 0.0
        self._accumulate = plan.accumulate
        self._device, self._augment = parts.ranks.device, _device_augment(parts)
        self._loader = make_loader(
            parts.dataset,
            phase.order,
            global_batch=plan.global_batch,
            micro_batch=plan.micro_batch,
            accumulate=plan.accumulate,
            rank=parts.ranks.rank,
            world=parts.ranks.world,
            start_step=start_step - phase.start,
            steps=(start_step + 1 if again else phase.stop) - phase.start,
            augment=None if self._augment else create_augment(*_preset(parts)),
            seed=phase.seed,
            **loader_options(parts, workers=0 if again else None),
        )

    def close(self) -> None:
        """End the loader's workers."""
        self._loader.close()

    def __iter__(self) -> Iterator[list[Any]]:
        source = iter(self._loader)
        while True:
            started = time.perf_counter()
            micro_batches = []
            for batch in source:
                micro_batches.append(batch)
                if len(micro_batches) == self._accumulate:
                    break
            if not micro_batches:
                return
            self.waited = time.perf_counter() - started
            if self._augment:
                micro_batches = [self._augmented(batch) for batch in micro_batches]
            yield micro_batches

    def _augmented(self, batch: Any) -> Any:
        images = batch.images.to(self._device, non_blocking=True)
        return batch._replace(images=self._augment(images, batch.keys))


def _preset(parts: Parts) -> tuple[str, int, dict[str, Any]]:
    augment = parts.config["augment"]
    return augment["name"], parts.dataset.size, augment.get("strengths") or {}


def _device_augment(parts: Parts) -> Any | None:
    """Return the augmentation of whole batches where `augment.where` asks for it."""
    where = parts.config["augment"].get("where", "workers")
    if where not in ("workers", "device"):
        raise FrfwError(f"augment.where={where}: choose workers or device")
    name, _, changes = _preset(parts)
    strengths = preset_strengths(name, changes)
    if where == "workers" or strengths == preset_strengths("none"):
        return None
    from frfw.data.augment.device import DeviceAugment  # loads torchvision

    return DeviceAugment(strengths)


def loader_options(parts: Parts, workers: int | None = None) -> dict[str, Any]:
    """The options of every loader of this process; `workers` where it is not as configured."""
    data = parts.config["data"]
    if workers is None:
        workers = _workers(data["workers"], parts.ranks.world)
    return {
        "workers": workers,
        "pin_memory": parts.ranks.device.type == "cuda",
        "prefetch": data["prefetch"],
        "timeout": data["timeout"],
        "bad_limit": data["bad_limit"],
        "context": _start_method(),
    }


def _start_method() -> str | None:
    """fork where there is fork: a worker then starts at once.

    A process that was spawned (trainer.devices=2) would spawn its workers too, and each would
    import PyTorch first, for seconds.
    """
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else None


def _workers(asked: int | None, world: int) -> int:
    """Loader workers of this process: as asked, else this machine's cores over its processes."""
    if asked is not None:
        return asked
    return default_workers(int(os.environ.get("LOCAL_WORLD_SIZE", world)))
