"""How a classifier computes: the choices that change time and memory, never the loss."""

from __future__ import annotations

from dataclasses import dataclass

from frfw.classifier.products import PRECISIONS
from frfw.errors import FrfwError, nearest

CHOICES = {
    "mode": ("dense", "tiled", "auto"),
    "parallel": ("replicated", "sharded", "sampled"),
    "precision": PRECISIONS,
    "sampling": ("corrected", "partial_fc"),
}


@dataclass(frozen=True)
class Settings:
    """See `create_classifier` for what each means; `memory_budget` is in bytes."""

    mode: str = "dense"
    precision: str = "fp32"
    sample_rate: float = 1.0
    sampling: str = "corrected"
    memory_budget: int | None = None
    fused_update: bool = False
    compile: bool = False


def choose(key: str, value: str) -> None:
    """Refuse a value that `key` does not have.

    Raises:
        FrfwError: with the nearest right one.
    """
    if value not in CHOICES[key]:
        raise FrfwError(
            f"classifier.{key}={value}: there is no such choice.{nearest(value, CHOICES[key])} "
            f"Choices: {', '.join(CHOICES[key])}"
        )
