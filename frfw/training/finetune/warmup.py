"""Warm-up of margin and scale: start easy, reach the loss's own values after some steps."""

from __future__ import annotations

from typing import Any

from torch import nn

from frfw.errors import FrfwError


class LossWarmup:
    """Moves a formula's numbers linearly from starting values to their own over the first steps.

    A fine-tuned network meets new identities with random or mean centres: a full margin at once
    pushes the embeddings about before the centres are right.

    Args:
        formula: the loss; its numbers at construction are where the warm-up ends.
        start: parameter name to starting value, such as {"m": 0.0, "s": 32}; None values are
            left alone.
        steps: optimizer steps until the end of the warm-up; 0: none.

    The values are a function of the step alone, so a resumed run goes on exactly.

    Raises:
        FrfwError: the formula has no such number.
    """

    def __init__(self, formula: nn.Module, start: dict[str, float | None], steps: int) -> None:
        self.formula, self.steps = formula, int(steps)
        self._from = {name: float(v) for name, v in start.items() if v is not None}
        numbers = [k for k, v in vars(formula).items() if type(v) in (int, float)]
        for name in self._from if self.steps > 0 else ():
            if name not in numbers:
                raise FrfwError(
                    f"finetune.warmup: the loss {type(formula).__name__} has no number '{name}' to "
                    f"warm up (it has {', '.join(numbers) or 'none'}); set it to null"
                )
        self._to: dict[str, Any] = {k: vars(formula)[k] for k in self._from if k in numbers}

    def values(self, step: int) -> dict[str, float]:
        """Return the numbers for optimizer step `step`, counted from 0."""
        if step >= self.steps:
            return dict(self._to)
        share = step / self.steps
        return {k: self._from[k] + share * (float(v) - self._from[k]) for k, v in self._to.items()}

    def set(self, step: int) -> None:
        """Give the formula its numbers for `step`."""
        if self.steps > 0:
            for name, value in self.values(step).items():
                setattr(self.formula, name, value)
