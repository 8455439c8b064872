"""How figures fall when the images get worse: a pair set scored again under graded changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frfw.errors import FrfwError
from frfw.evaluation.cache import EmbeddingCache
from frfw.evaluation.changes import Change, chosen_changes
from frfw.evaluation.extraction import Embed, Extraction, extract
from frfw.evaluation.images import ImageList
from frfw.evaluation.pairs import PairSet
from frfw.evaluation.sets import embed_pairs, own_folds
from frfw.evaluation.table import percent, text_table
from frfw.evaluation.verification import verify

FIGURES = ("accuracy", "auc", "eer")


@dataclass
class RobustnessResult:
    """Figures of one pair set by change and strength.

    Attributes:
        name: of the pair set.
        clean: accuracy, auc, eer and tar (at `far`) of the unchanged images.
        rows: one for every change and strength: kind, unit, strength and the same figures.
        far: the FAR that tar belongs to.
        both: whether both images of a pair were changed, or the second alone.
    """

    name: str
    clean: dict[str, float | None]
    rows: list[dict[str, Any]]
    far: float
    both: bool


def robustness(
    embed: Embed,
    pairs: PairSet,
    how: Extraction,
    *,
    changes: Sequence[str] | None = None,
    both: bool = False,
    far: float = 1e-2,
    folds: int = 10,
    seed: int = 0,
    cache: EmbeddingCache | None = None,
) -> RobustnessResult:
    """Score `pairs` clean and under every strength of every change.

    The first image of a pair stays as it is (the enrolled one) and the second is changed; or both
    are. Random parts depend on (seed, image) alone, so every network meets the same images, and
    accuracy is the 10-fold one with thresholds chosen on the changed pairs.

    Args:
        embed: as `evaluate_sets` takes it; call on every rank.
        folds: of sets that do not bring their own.
        changes: names out of `frfw.evaluation.changes.CHANGES`; None: all.
        cache: where embeddings are looked up and kept, those of changed images too.

    Raises:
        FrfwError: pairs without images, an unknown change, or what `verify` refuses.
    """
    if pairs.images is None:
        raise FrfwError(f"{pairs.name}: robustness needs images, and these pairs are embeddings")
    folds = own_folds(pairs, folds)
    used = np.unique(pairs.pairs if both else pairs.pairs[:, 1])
    images = pairs.images.subset(used)
    clean = embed_pairs(embed, pairs, how, cache)
    rows = []
    for change in chosen_changes(list(changes) if changes else None):
        for strength in change.strengths:
            changed = clean.copy()
            changed[used] = _embed_changed(embed, images, how, cache, change, strength, seed, used)
            figures = _figures(pairs, changed if both else clean, changed, folds, far)
            rows.append({"kind": change.name, "unit": change.unit, "strength": strength, **figures})
    return RobustnessResult(pairs.name, _figures(pairs, clean, clean, folds, far), rows, far, both)


def _embed_changed(
    embed: Embed,
    images: ImageList,
    how: Extraction,
    cache: EmbeddingCache | None,
    change: Change,
    strength: float,
    seed: int,
    numbers: np.ndarray,
) -> np.ndarray:
    """Embed the changed images; `numbers` are their places in the set, which decide the draws."""

    def apply(image: np.ndarray, index: int) -> np.ndarray:
        return change.apply(image, strength, np.random.default_rng([seed, int(numbers[index])]))

    def make() -> np.ndarray:
        return extract(embed, images, how, apply)

    if cache is None:
        return make()
    drawn = hashlib.blake2b(np.ascontiguousarray(numbers, np.int64), digest_size=8).hexdigest()
    return cache.get(images, how, make, f"{change.name} {strength:g} {seed} {drawn}")


def _figures(
    pairs: PairSet, first: np.ndarray, second: np.ndarray, folds: Any, far: float
) -> dict[str, float | None]:
    a, b = first[pairs.pairs[:, 0]], second[pairs.pairs[:, 1]]
    result = verify(a, b, pairs.same, folds, far_targets=(far,), name=pairs.name)
    return {**{key: float(getattr(result, key)) for key in FIGURES}, "tar": result.tar_at_far[far]}


def robustness_table(result: RobustnessResult) -> str:
    """Return the accuracies (TAR in brackets) as text: a row a change, mild to strong."""
    names = list(dict.fromkeys(row["kind"] for row in result.rows))
    rows = [[result.name, "unit", "mild", *[""] * 2, "strong"]]
    rows.append(["unchanged", "", _cell(result.clean, None)])
    for name in names:
        graded = [row for row in result.rows if row["kind"] == name]
        rows.append([name, graded[0]["unit"], *(_cell(row, row["strength"]) for row in graded)])
    foot = f"each: strength: accuracy (TAR at FAR {result.far:g}), per cent; "
    changed = "both images changed" if result.both else "second image of each pair changed"
    return text_table(rows) + "\n" + foot + changed


def _cell(figures: dict[str, Any], strength: float | None) -> str:
    told = "" if strength is None else f"{strength:g}: "
    return f"{told}{percent(figures['accuracy'])} ({percent(figures['tar'])})"


def save_robustness(results: Sequence[RobustnessResult], folder: str | Path) -> Path:
    """Write `robustness.json`, which the report reads: every row with its set, clean accuracies."""
    path = Path(folder) / "robustness.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "rows": [{"set": result.name, **row} for result in results for row in result.rows],
        "clean": {result.name: result.clean["accuracy"] for result in results},
        "far": {result.name: result.far for result in results},
        "both_changed": {result.name: result.both for result in results},
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path
