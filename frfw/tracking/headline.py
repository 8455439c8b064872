"""The one figure that stands for a set where there is room for one only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_AT_FAR = "tar_at_far_"


def headline(figures: Mapping[str, Any]) -> str | None:
    """Return the name of the figure to show: accuracy of pairs, rank-1 of a search, else TAR.

    Args:
        figures: of one set, by name, as `result.json` keeps them: `accuracy`; `rank_1` (with
            several galleries `G1_rank_1`); `tar_at_far_0.0001` of templates.

    Returns:
        The name, or None where there is nothing to show. Of TARs that at the FAR nearest to 1e-4.
    """
    if "accuracy" in figures:
        return "accuracy"
    ranks = [name for name in figures if name == "rank_1" or name.endswith("_rank_1")]
    tars = {name: float(name[len(_AT_FAR) :]) for name in figures if name.startswith(_AT_FAR)}
    if tars:
        return min(tars, key=lambda name: abs(tars[name] / 1e-4 - 1) if tars[name] else 9.0)
    return ranks[0] if ranks else None


def in_words(figure: str) -> str:
    """Write a figure's name as a reader wants it: `rank 1`, `TAR at FAR 0.0001`, `G1, rank 1`."""
    if figure.startswith(_AT_FAR):
        return f"TAR at FAR {figure[len(_AT_FAR) :]}"
    gallery, found, rank = figure.rpartition("rank_")
    if found:
        return f"{gallery.rstrip('_')}{', ' if gallery else ''}rank {rank}"
    return figure.replace("_", " ")
