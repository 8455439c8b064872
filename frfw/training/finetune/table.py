"""The before/after table of a fine-tuned run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def before_after(curves: Mapping[str, Any]) -> list[str]:
    """Lay out each verification set's first and last accuracy, one line a set.

    Args:
        curves: `frfw.tracking.runs.read_metrics` of the run; `val/<set>/accuracy` has `steps` and
            `values`. A set counts where it was scored before the first step
            (trainer.evaluate_first=true) and again later.

    Returns:
        lines of text, [] where no set was scored before and after.
    """
    rows = []
    for name, curve in sorted(curves.items()):
        parts = name.split("/")
        if parts[0] != "val" or parts[-1] != "accuracy" or len(curve.steps) < 2:
            continue
        if int(curve.steps[0]) == 0:
            rows.append((parts[1], 100 * float(curve.values[0]), 100 * float(curve.values[-1])))
    if not rows:
        return []
    width = max(12, *(len(name) for name, _, _ in rows))
    lines = [f"{'set':<{width}} {'before':>8} {'after':>8} {'change':>8}"]
    for name, before, after in rows:
        lines.append(f"{name:<{width}} {before:>7.2f}% {after:>7.2f}% {after - before:>+7.2f}")
    return lines
