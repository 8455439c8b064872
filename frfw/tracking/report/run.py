"""The report of one run."""

from __future__ import annotations

from pathlib import Path

from frfw.tracking.report import facts, verification
from frfw.tracking.report.charts import spread
from frfw.tracking.report.curves import training_charts
from frfw.tracking.report.page import write_page
from frfw.tracking.report.protocols import protocol_tiles, protocols
from frfw.tracking.report.robustness import robustness
from frfw.tracking.runs import load_run


def write_report(run_dir: str | Path, path: str | Path | None = None) -> Path:
    """Write `report.html` of a run folder from what lies in it; return its path.

    One file, without network: charts are inline SVG, pictures are data URIs. Parts for which the
    folder holds no numbers are left out.

    Raises:
        FrfwError: the folder is no run, or a file in it cannot be read.
    """
    run = load_run(run_dir)
    scored = [
        (scores, figures)
        for name, figures in verification.evaluated(run)
        if (scores := verification.load_scores(run.folder / "evaluation", name)) is not None
        and len(scores.genuine)
        and len(scores.impostor)
    ]
    content = {
        "title": run.name,
        "headline": facts.headline(run),
        "chips": facts.chips(run),
        "error": run.result.get("error"),
        "tiles": verification.tiles(run) + protocol_tiles(run),
        "table": verification.table(run),
        "groups": verification.group_tables(run),
        "protocols": protocols(run),
        "training": spread(training_charts(run.curves)),
        "scores": spread(
            [
                *filter(None, [verification.roc_chart([scores for scores, _ in scored])]),
                *(verification.histogram(*both) for both in scored),
            ]
        ),
        "worst": verification.worst_sets(run),
        "robustness": robustness(run.robustness),
        "settings": facts.settings(run.config),
        "environment": facts.environment_rows(run.environment),
    }
    return write_page("run.html.j2", Path(path) if path else run.folder / "report.html", content)
