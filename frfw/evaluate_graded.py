"""The robustness part of `frfw.evaluate`: sets scored again under graded changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from frfw.errors import FrfwError, nearest

if TYPE_CHECKING:
    from frfw.embedder import Embedder
    from frfw.evaluation import EmbeddingCache, Extraction, PairSet


def chosen_sets(wanted: dict[str, Any], opened: dict[str, PairSet]) -> dict[str, PairSet]:
    """Return the sets to score, none where robustness is off; refuse what cannot be done."""
    from frfw.evaluation.changes import chosen_changes
    from frfw.values import rate, whole

    if not wanted["enabled"]:
        return {}
    for key in ("sets", "changes"):
        if isinstance(wanted[key], str):
            wanted[key] = [wanted[key]]
    chosen_changes(wanted["changes"])
    rate(wanted["far"], "robustness.far")
    whole(wanted["seed"], "robustness.seed", 0)
    names = wanted["sets"] or [n for n, pairs in opened.items() if pairs.images is not None]
    for name in names:
        if name not in opened:
            raise FrfwError(f"robustness.sets: {name!r} is not evaluated.{nearest(name, opened)}")
        if opened[name].images is None:
            raise FrfwError(f"robustness.sets: {name} is embeddings; robustness needs images")
    return {name: opened[name] for name in names}


def score_graded(
    sets: dict[str, PairSet],
    wanted: dict[str, Any],
    embedder: Embedder,
    how: Extraction,
    cache: EmbeddingCache | None,
    output: Path,
    folds: int,
    is_main: bool,
) -> None:
    """Score the sets under every change; write and print tables and figures (rank 0)."""
    from frfw.evaluation.plots import robustness_figure, save_figure
    from frfw.evaluation.robustness import robustness, robustness_table, save_robustness
    from frfw.tracking.board import add_figures

    results = []
    for name, pairs in sets.items():
        results.append(
            robustness(
                embedder.forward,
                pairs,
                how,
                changes=wanted["changes"],
                both=bool(wanted["both"]),
                folds=folds,
                far=float(wanted["far"]),
                seed=int(wanted["seed"]),
                cache=cache,
            )
        )
        if is_main:
            print(f"\n{robustness_table(results[-1])}")
            figure = robustness_figure(results[-1])
            save_figure(figure, output / f"robustness_{name}.png")
            add_figures(embedder.path, [(f"robustness/{name}", figure)])
    if is_main:
        print(f"written to {save_robustness(results, output)}")
