"""What a diagnosis says, and the evidence that it says it from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

LEVELS = ("problem", "warning", "normal")


@dataclass
class Finding:
    """One known signature that a run matches.

    Attributes:
        name: short name of the signature, stable for programs.
        level: "problem", "warning", or "normal" (looks odd, is as it should be).
        seen: what in this run matches, with its numbers.
        means: what that means.
        advice: what to try, most likely first.
    """

    name: str
    level: str
    seen: str
    means: str
    advice: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain types."""
        return asdict(self)


@dataclass
class Evidence:
    """A run's curves, config and class count, as the signatures look at them.

    Attributes:
        curves: name to an object with `steps` (n,) and `values` (n,), sorted by step.
        config: the run's resolved config.
        classes: identities trained on, or None where nobody wrote it down.
        planned: optimizer steps that the run was to have, or None.
        result: what the run wrote when it ended (`status`, `error`), or empty.
    """

    curves: Mapping[str, Any]
    config: Mapping[str, Any]
    classes: int | None = None
    planned: int | None = None
    result: Mapping[str, Any] = field(default_factory=dict)

    def steps(self, name: str) -> np.ndarray:
        """Steps (n,) at which `name` was logged; empty where it never was."""
        return np.asarray(self.curves[name].steps) if name in self.curves else np.zeros(0, int)

    def values(self, name: str) -> np.ndarray:
        """Values (n,) of `name`, NaN and infinities included."""
        return np.asarray(self.curves[name].values, float) if name in self.curves else np.zeros(0)

    def late(self, name: str, share: float = 0.25) -> np.ndarray:
        """The finite values of the last `share` of the points (at least three)."""
        values = self.values(name)
        values = values[np.isfinite(values)]
        return values[-max(3, math.ceil(share * len(values))) :]

    def key(self, dotted: str, default: Any = None) -> Any:
        """Return a config value by its dotted key."""
        value: Any = self.config
        for part in dotted.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return default
            value = value[part]
        return value

    def number(self, dotted: str) -> float | None:
        """Return a config value if it is a number."""
        value = self.key(dotted)
        return float(value) if isinstance(value, int | float) else None


def flat(values: np.ndarray, tolerance: float = 0.02) -> bool:
    """Whether the later half of a curve neither rises nor falls.

    Its two halves agree in mean: within `tolerance`, or within two standard errors where single
    steps vary more than that.
    """
    values = values[np.isfinite(values)]
    late = values[len(values) // 2 :]
    if len(late) < 4:
        return False
    first, second = np.array_split(late, 2)
    level = max(abs(float(late.mean())), 1e-12)
    noise = math.sqrt(float(first.var() / len(first) + second.var() / len(second)))
    return abs(float(second.mean() - first.mean())) <= max(tolerance * level, 2 * noise)


def near(value: float, target: float, tolerance: float) -> bool:
    """Whether `value` is within `tolerance` (relative) of `target`."""
    return abs(value - target) <= tolerance * abs(target)
