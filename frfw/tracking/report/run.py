"""The report of one run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frfw.errors import FrfwError
from frfw.tracking.report import facts, verification
from frfw.tracking.report.charts import spread
from frfw.tracking.report.curves import training_charts
from frfw.tracking.report.page import write_page
from frfw.tracking.report.protocols import protocol_tiles, protocols
from frfw.tracking.report.robustness import robustness
from frfw.tracking.runs import Run, load_run

log = logging.getLogger("frfw.report")


def write_report(run_dir: str | Path, path: str | Path | None = None) -> Path:
    """Write `report.html` of a run folder from what lies in it; return its path.

    One file, without network: charts are inline SVG, pictures are data URIs. Parts for which the
    folder holds no numbers are left out; so are parts whose files are damaged, which the page and
    the log name.

    Raises:
        FrfwError: the folder is no run, or its config or metrics cannot be read.
    """
    run = load_run(run_dir)
    parts = {name: _part(run, make) for name, make in _PARTS.items()}
    for line in run.damaged:
        log.warning("left out of the report: %s", line)
    content = {"title": run.name, "error": run.result.get("error"), "damaged": run.damaged, **parts}
    return write_page("run.html.j2", Path(path) if path else run.folder / "report.html", content)


def _part(run: Run, make: Callable[[Run], Any]) -> Any:
    """Make a part of the page; None, and a line in `run.damaged`, where its files do not let it."""
    try:
        return make(run)
    except FrfwError as error:
        run.damaged.append(str(error))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        where = run.folder / "evaluation"
        run.damaged.append(
            f"{where}: a file holds no such result ({type(error).__name__}: {error})"
        )
    return None


def _scores(run: Run) -> list[Any]:
    """The ROC curves and histograms of the sets whose scores are there."""
    scored = []
    for name, figures in verification.evaluated(run):
        scores = _part(run, lambda run, name=name: _load_scores(run, name))
        if scores is not None and len(scores.genuine) and len(scores.impostor):
            scored.append((scores, figures))
    roc = verification.roc_chart([scores for scores, _ in scored])
    histograms = [verification.histogram(*both) for both in scored]
    return spread([*filter(None, [roc]), *histograms])


def _load_scores(run: Run, name: str) -> verification.SetScores | None:
    return verification.load_scores(run.folder / "evaluation", name)


_PARTS: dict[str, Callable[[Run], Any]] = {
    "headline": facts.headline,
    "chips": facts.chips,
    "tiles": lambda run: verification.tiles(run) + protocol_tiles(run),
    "table": verification.table,
    "groups": verification.group_tables,
    "protocols": protocols,
    "training": lambda run: spread(training_charts(run.curves)),
    "scores": _scores,
    "worst": verification.worst_sets,
    "robustness": lambda run: robustness(run.robustness),
    "settings": lambda run: facts.settings(run.config),
    "environment": lambda run: facts.environment_rows(run.environment),
}
