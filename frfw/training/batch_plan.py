"""How a global batch is split over processes and accumulation, and how long a run is."""

from __future__ import annotations

from dataclasses import dataclass

from frfw.errors import FrfwError


@dataclass(frozen=True)
class BatchPlan:
    """global_batch = micro_batch * world * accumulate, and the run's length in optimizer steps."""

    global_batch: int
    micro_batch: int
    world: int
    accumulate: int
    steps: int
    steps_per_epoch: float

    def __str__(self) -> str:
        return (
            f"global batch {self.global_batch} = {self.micro_batch} x {self.world} "
            f"process{'es' if self.world > 1 else ''} x {self.accumulate} accumulated; "
            f"{self.steps} steps of {self.steps_per_epoch:.1f} an epoch"
        )


def plan_batches(
    samples: int,
    global_batch: int,
    micro_batch: int | None,
    world: int,
    epochs: float,
    steps: int | None,
) -> BatchPlan:
    """Derive the plan; a set smaller than a batch works, since batches run on into the next epoch.

    Args:
        samples: length of the data's order in one epoch.
        global_batch: samples of one optimizer step.
        micro_batch: samples that one process takes at once; None: all of its share.
        world: processes.
        epochs, steps: length of the run; `steps` wins where it is given.

    Raises:
        FrfwError: the numbers do not divide, or are not positive.
    """
    for name, value in (("global_batch_size", global_batch), ("epochs", epochs)):
        if value <= 0:
            raise FrfwError(f"trainer.{name}={value} must be above 0")
    if global_batch % world:
        below = global_batch // world * world or world
        raise FrfwError(
            f"trainer.global_batch_size={global_batch} does not divide over {world} processes; "
            f"take {below} or {below + world}"
        )
    share = global_batch // world
    micro = share if micro_batch is None else micro_batch
    if micro <= 0 or share % micro:
        raise FrfwError(
            f"trainer.micro_batch_size={micro} does not divide a process's share of "
            f"{share} samples (global_batch_size {global_batch} / {world} processes)"
        )
    per_epoch = samples / global_batch
    total = steps if steps is not None else max(1, round(epochs * per_epoch))
    if total <= 0:
        raise FrfwError(f"trainer.steps={steps} must be above 0")
    return BatchPlan(global_batch, micro, world, share // micro, total, per_epoch)
