"""What happens when steps are not finite: a dump of what is known, then back or out."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

from torch import Tensor

from frfw.training import resume
from frfw.training.checkpoint import newest
from frfw.training.layer_values import largest_weights, look_again, not_finite, plain

if TYPE_CHECKING:
    from frfw.training.trainer import Trainer


_ROLLBACKS = 3  # to one and the same checkpoint
_FILES = 50  # at most: fp16 skips a step every so often for days


class Diverged(RuntimeError):
    """Training cannot go on: too many steps in a row were not finite."""


class FaultHandler:
    """Watches the guard's counters; dumps sample ids and layer maxima; stops or rolls back.

    The counters live on the device. They are read on logging steps, and on the CPU (where reading
    is free) at every step, so the trainer never waits for the device for their sake.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        settings = trainer.settings
        self._limit = settings["non_finite_limit"]
        self._every_step = trainer.ranks.device.type == "cpu"
        self._seen = int(trainer.guard.skipped)
        self._recent: deque[tuple[int, list[Tensor], Tensor]]
        self._recent = deque(maxlen=max(settings["log_every"], 1))
        self._files = 0
        self.lr_factor: float = getattr(trainer, "resumed_lr_factor", 1.0)
        self.rolled_back = False
        self._back_at = (-1, 0)  # step of the last rollback, how often in a row

    def remember(self, step: int, micro_batches: list[Any], found_inf: Tensor) -> None:
        """Keep a step's sample ids until the next time that the counters are read.

        Copies: they are views of a batch's memory, pinned on a GPU, which they would keep.
        """
        self._recent.append((step, [b.indices.clone() for b in micro_batches], found_inf))
        self.rolled_back = False

    def check(self, logging: bool) -> None:
        """Read the counters if that is due; dump, roll back or stop.

        Raises:
            Diverged: `trainer.non_finite_limit` steps in a row were skipped.
        """
        if not (logging or self._every_step):
            return
        guard = self._trainer.guard
        skipped = int(guard.skipped)
        if skipped == self._seen:
            return
        new, self._seen = skipped - self._seen, skipped
        streak = int(guard.streak)
        # The values tell most where it began, and where it ends; each costs a step.
        path, seen = self._dump(look=streak <= new or streak >= self._limit)
        step = self._trainer.step
        self._trainer.recorder.message(
            f"warning: {new} step(s) up to step {step} had a loss or gradient that is not finite "
            f"and were skipped on all ranks ({skipped} so far){seen}; details in {path}"
        )
        if streak >= self._limit:
            self._give_up_or_go_back(streak, path)

    def _give_up_or_go_back(self, streak: int, dump: str) -> None:
        factor = self._trainer.settings["rollback_factor"]
        found = newest(self._trainer.folder.checkpoints) if factor else None
        if found is None:
            raise Diverged(
                f"{streak} steps in a row were not finite, up to step {self._trainer.step}: "
                f"{self._likely_cause()}. Sample ids and the layers' largest values: {dump}. "
                "trainer.rollback_factor=0.5 would go back to the last checkpoint at half the rate"
            )
        path, content, _ = found
        self._count_rollback(content["counters"]["step"], dump)
        resume.load_into(self._trainer, content, path)
        self.lr_factor *= factor
        self._trainer.guard.streak.zero_()
        self._seen = int(self._trainer.guard.skipped)
        self.rolled_back = True
        self._trainer.recorder.message(
            f"warning: back to {path} (step {self._trainer.step}), learning rate times {factor}"
        )

    def _count_rollback(self, step: int, dump: str) -> None:
        """Stop when going back to the same checkpoint did not help: the same data come again."""
        self._back_at = (step, self._back_at[1] + 1 if self._back_at[0] == step else 1)
        if self._back_at[1] > _ROLLBACKS:
            raise Diverged(
                f"went back to step {step} {_ROLLBACKS} times, down to {self.lr_factor:g} of the "
                f"learning rate, and the steps after it were not finite each time: "
                f"{self._likely_cause()}; or the samples themselves: {dump} names them"
            )

    def _likely_cause(self) -> str:
        trainer = self._trainer
        broken = next(not_finite(largest_weights(trainer.parts.model)), None)
        if broken:
            return f"the weights of {broken} are not finite any more (was init_from sound?)"
        if trainer.parts.precision.name == "fp16":
            return "likely an overflow of fp16 (try trainer.precision=bf16 or a lower base_lr)"
        return "likely too high a learning rate (optimizer.base_lr) or too large a margin (loss.m)"

    def _dump(self, look: bool) -> tuple[str, str]:
        """Write what is known of the bad steps; return the file and what to say of it."""
        trainer = self._trainer
        name = f"non_finite_step_{trainer.step}_rank_{trainer.ranks.rank}.json"
        path = trainer.folder.path / name
        bad = [(step, ids) for step, ids, found in self._recent if bool(found)]
        content: dict[str, Any] = {
            "skipped_steps": [step for step, _ in bad],
            "samples": {step: [i for part in ids for i in part.tolist()] for step, ids in bad},
            "largest_weights": largest_weights(trainer.parts.model),
        }
        seen = ""
        if look and bad:  # all ranks alike: the guard's counters are the same everywhere
            step = bad[-1][0]
            content |= {"looked_at_step": step, "weights_of_step": trainer.step}
            content |= look_again(trainer, step)
            first = content["first_not_finite"]
            seen = f", first in layer {first} on rank {trainer.ranks.rank}" if first else ""
        self._recent.clear()
        if self._files < _FILES:
            path.write_text(json.dumps(plain(content), indent=1))
        self._files += 1
        return str(path), seen
