"""Learning-rate schedules: pure functions of the optimizer step, so nothing need be saved."""

from __future__ import annotations

import inspect
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from frfw.errors import FrfwError, nearest


def polynomial(progress: float, power: float = 2.0, floor: float = 0.0) -> float:
    """Decay (1 - progress)^power from 1 to `floor` (the ArcFace recipe's power is 2)."""
    return floor + (1.0 - floor) * (1.0 - progress) ** power


def cosine(progress: float, floor: float = 0.0) -> float:
    """Half a cosine from 1 to `floor` (Loshchilov and Hutter, SGDR, eq. 5, one cycle)."""
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def step(
    progress: float, milestones: Sequence[float] = (0.5, 0.75, 0.9), gamma: float = 0.1
) -> float:
    """Multiply by `gamma` at each milestone, a share of the steps in (0, 1)."""
    return gamma ** bisect_right(sorted(milestones), progress)


def constant(progress: float) -> float:
    """Stay at 1."""
    return 1.0


SHAPES: dict[str, Callable[..., float]] = {
    "polynomial": polynomial,
    "cosine": cosine,
    "step": step,
    "constant": constant,
}


class Schedule:
    """Factor of the base learning rate at optimizer step k of `steps`, with linear warm-up.

    Args:
        name: polynomial | cosine | step | constant.
        steps: optimizer steps of the whole run.
        warmup_steps: steps of the linear rise from 1 / warmup_steps to 1.
        shape: the shape's own parameters (power, floor, milestones, gamma).
    """

    def __init__(self, name: str, steps: int, warmup_steps: int = 0, **shape: object) -> None:
        if name not in SHAPES:
            raise FrfwError(
                f"schedule.name={name}: there is no such schedule.{nearest(name, SHAPES)} "
                f"Choices: {', '.join(SHAPES)}"
            )
        own = list(inspect.signature(SHAPES[name]).parameters)[1:]
        for key in shape:
            if key not in own:
                raise FrfwError(
                    f"schedule.{key} is no parameter of schedule {name} "
                    f"({', '.join(own) or 'it has none'}): choose it with schedule={name}"
                )
        if not 0 <= warmup_steps < max(steps, 1):
            raise FrfwError(
                f"schedule: {warmup_steps} warm-up steps do not fit in a run of {steps} steps; "
                "lower schedule.warmup_epochs or train longer"
            )
        self.steps, self.warmup_steps = steps, warmup_steps
        self._shape, self._parameters = SHAPES[name], shape

    def factor(self, k: int) -> float:
        """Return the factor for optimizer step k, counted from 0."""
        if k < self.warmup_steps:
            return (k + 1) / self.warmup_steps
        progress = (k - self.warmup_steps) / max(self.steps - self.warmup_steps, 1)
        return self._shape(min(progress, 1.0), **self._parameters)
