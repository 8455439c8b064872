"""Figures of results for TensorBoard: the same during training and from `frfw.evaluate`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from frfw.evaluation.plots import (
    cmc_figure,
    histogram_figure,
    roc_figure,
    stream_roc_figure,
    worst_figure,
)
from frfw.tracking.worst import load_worst

if TYPE_CHECKING:
    from frfw.evaluation.protocol_result import ProtocolResult
    from frfw.evaluation.result import VerificationResult

Named = Iterator[tuple[str, Figure]]


def pair_figures(results: Mapping[str, VerificationResult], folder: Path) -> Named:
    """Yield (name, figure): the ROC of all pair sets, each set's histogram and worst pairs.

    Args:
        results: by set.
        folder: where `store_worst` has put the worst pairs.
    """
    if results:
        yield "roc", roc_figure(results)
    for name, result in results.items():
        yield f"histogram/{name}", histogram_figure(result)
        worst = load_worst(folder / f"{name}_worst.npz")
        if worst is not None and len(worst.scores):
            pairs = (worst.left, worst.right, worst.scores, worst.same)
            yield f"worst/{name}", worst_figure(name, *pairs)


def protocol_figures(results: Mapping[str, ProtocolResult]) -> Named:
    """Yield (name, figure): the CMC of identification, the ROC of templates."""
    for name, result in results.items():
        curves = {k: r.cmc for k, r in result.identification.items() if r.cmc.size}
        if curves:
            yield f"cmc/{name}", cmc_figure(curves)
        if result.verification is not None:
            yield f"roc/{name}", stream_roc_figure(name, result.verification)
