"""The steps' micro-batches of this rank, and how long the loop waited for them."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from frfw.data import create_augment, default_workers, make_loader

if TYPE_CHECKING:
    from frfw.training.build import Parts


class Batches:
    """Iterates over optimizer steps, each a list of `accumulate` micro-batches.

    Args:
        again: the one step `start_step` alone, read in this process: to look at it once more.

    Attributes:
        waited: seconds that the last step's batches were waited for.
    """

    def __init__(self, parts: Parts, start_step: int, again: bool = False) -> None:
        plan, data = parts.plan, parts.config["data"]
        self.waited = 0.0
        self._accumulate = plan.accumulate
        self._loader = make_loader(
            parts.dataset,
            parts.order,
            global_batch=plan.global_batch,
            micro_batch=plan.micro_batch,
            accumulate=plan.accumulate,
            rank=parts.ranks.rank,
            world=parts.ranks.world,
            start_step=start_step,
            steps=start_step + 1 if again else plan.steps,
            augment=create_augment(parts.config["augment"]["name"]),
            seed=parts.config["seed"],
            workers=0 if again else _workers(data["workers"], parts.ranks.world),
            pin_memory=parts.ranks.device.type == "cuda",
            prefetch=data["prefetch"],
            timeout=data["timeout"],
            bad_limit=data["bad_limit"],
            context=_start_method(),
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
            yield micro_batches


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
