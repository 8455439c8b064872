"""Identification and template sets during training: scored, logged and kept like the pair sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frfw.evaluation import EmbeddingCache, Extraction
from frfw.evaluation.extraction import Embed, Stop
from frfw.evaluation.protocol_result import ProtocolResult
from frfw.evaluation.protocols import open_protocols, score_protocol
from frfw.tracking.headline import headline, in_words

if TYPE_CHECKING:
    from frfw.tracking import Tracker

Results = dict[str, ProtocolResult]


class ProtocolScores:
    """The sets of a run that are no pair lists.

    Args:
        sets: all of `evaluation.sets`. One that is missing is passed over with a warning.
        skip_missing: of sets that do not say: leave out images that are missing.
    """

    def __init__(self, sets: Mapping[str, Any], skip_missing: bool = False) -> None:
        self.sets = open_protocols(sets, skip_missing)

    def score(
        self, embed: Embed, how: Extraction, cache: EmbeddingCache | None, stop: Stop | None
    ) -> Results:
        """Score every set, on all ranks.

        Raises:
            Stopped: `stop` said so.
        """
        return {
            name: score_protocol(embed, name, source, how, cache, stop)
            for name, source in self.sets.items()
        }

    @staticmethod
    def keep(results: Results, folder: Path, tracker: Tracker, step: int) -> None:
        """Write `<set>.json` of the final results, and their curves to TensorBoard."""
        from frfw.result_figures import protocol_figures

        for result in results.values():
            result.save(folder)
        for name, figure in protocol_figures(results):
            tracker.figure(step, name, figure)


def in_one_line(results: Results) -> str:
    """Say each set's headline figure: `search rank 1 93.75 %`."""
    told = []
    for name, result in results.items():
        figures = result.figures()
        head = headline(figures)
        if head:
            told.append(f"{name} {in_words(head)} {100 * figures[head]:.2f} %")
    return ", ".join(told)


def mean_headline(results: Results) -> float | None:
    """Return the mean of the headline figures, by which the best step is chosen without pairs."""
    values = [f[head] for r in results.values() if (head := headline(f := r.figures()))]
    return float(np.mean(values)) if values else None
