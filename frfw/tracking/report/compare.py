"""The report that compares runs: tables over seeds, a paired test, curves, accuracy by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from frfw.tracking.paired import holm, sign_flip
from frfw.tracking.report.charts import spread
from frfw.tracking.report.compare_charts import (
    accuracy_by_key,
    accuracy_by_setting,
    overlaid,
    rocs,
)
from frfw.tracking.report.facts import plain
from frfw.tracking.report.page import write_page
from frfw.tracking.report.settings import Setting, find_runs, label, settings
from frfw.tracking.report.verification import percent
from frfw.tracking.runs import Run


def write_comparison(
    paths: str | Path | list[str | Path],
    path: str | Path | None = None,
    title: str | None = None,
) -> Path:
    """Compare run folders, or the runs of a sweep folder, in one page; return its path.

    Args:
        paths: a sweep folder, or several run folders and folders of runs.
        path: where to write; by default `report.html` in a sweep folder, and `comparison.html`
            beside the first run otherwise.

    Raises:
        FrfwError: a path is neither a run folder nor a folder of runs.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    runs = find_runs(paths)
    only = Path(paths[0]).resolve() if len(paths) == 1 else None
    if path is None:
        path = only / "report.html" if only else runs[0].folder.parent / "comparison.html"
    compared = settings(runs)
    sets = list(dict.fromkeys(n for run in runs for n in (*run.sets, *run.protocol_sets)))
    if only and (only / "study.db").is_file():  # a search: the best first
        compared.sort(key=lambda s: -_mean_score(s, sets))
    lost = [run for run in runs if run.status in ("diverged", "failed")]
    pruned = sum(run.status == "pruned" for run in runs)
    by_key = accuracy_by_key(compared, sets)
    content = {
        "title": title or (only.name if only else f"{len(runs)} runs"),
        "chips": [
            ("runs", str(len(runs))),
            ("settings", str(len(compared))),
            ("seeds", str(len({str(run.seed) for run in runs}))),
            *([("pruned", str(pruned))] if pruned else []),
            *([("came to nothing", str(len(lost)))] if lost else []),
        ],
        "table": result_table(compared, sets),
        "differences": difference_table(compared),
        "by_key": spread(by_key or accuracy_by_setting(compared, sets)),
        "by_key_title": "Accuracy by swept key" if by_key else "Accuracy by setting",
        "curves": spread(overlaid(compared)),
        "rocs": spread(rocs(compared, sets)),
        "runs": run_table(runs, sets),
        "lost": [(run.name, run.status, str(run.result.get("error") or "")) for run in lost],
    }
    return write_page("compare.html.j2", Path(path), content)


def _mean_score(setting: Setting, sets: list[str]) -> float:
    means = [values.mean() for name in sets if len(values := setting.accuracies(name))]
    return float(np.mean(means)) if means else -1.0


def result_table(compared: list[Setting], sets: list[str]) -> dict[str, Any]:
    """Return mean, spread over seeds and p-value of every setting on every set."""
    rows: list[tuple[str, list]] = [(s.label, [_count(s)]) for s in compared]
    for name in sets:
        means = [float(a.mean()) if len(a := s.accuracies(name)) else None for s in compared]
        known = [m for m in means if m is not None]
        best = means.index(max(known)) if known else None
        tests = holm([
            None if best is None or i == best else paired_test(s, compared[best], name)
            for i, s in enumerate(compared)
        ])  # fmt: skip
        for i, setting in enumerate(compared):
            rows[i][1].append(_cell(setting, name, tests[i], i == best and len(compared) > 1))
    return {"columns": ["runs", *sets], "rows": rows, "notes": _NOTES}


_NOTES = [
    "Mean over seeds, ± standard deviation over seeds; the best mean of each set in colour.",
    "p: sign-flip test against the best on the same ten folds, each fold averaged over the seeds "
    "that both have (over all seeds where they share none), adjusted for the number of comparisons "
    "(Holm). It speaks of these pairs and these runs; what another training run would give, the "
    "spread over seeds says.",
]


def _count(setting: Setting) -> tuple[str, str, str]:
    lost = len(setting.runs) - len(setting.good)
    if not lost:
        return str(len(setting.runs)), "", ""
    statuses = dict.fromkeys(r.status for r in setting.runs if r not in setting.good)
    bad = "" if set(statuses) == {"pruned"} else "bad"
    return f"{len(setting.good)} of {len(setting.runs)}", f"{lost} {'/'.join(statuses)}", bad


def _cell(setting: Setting, name: str, p: float | None, is_best: bool) -> tuple[str, str, str]:
    values = setting.accuracies(name)
    if not len(values):
        return "–", "", ""
    small = f"± {percent(float(values.std(ddof=1)))}" if len(values) > 1 else ""
    if p is not None:
        small += f"{' · ' if small else ''}p {'< 0.01' if p < 0.01 else f'{p:.2f}'}"
    return percent(float(values.mean())), small, "best" if is_best else ""


def difference_table(compared: list[Setting]) -> dict[str, Any] | None:
    """List the keys in which settings differ, where their names do not say them already."""
    if len(compared) < 2 or all(s.label == label(s.keys) for s in compared):
        return None
    keys = list(dict.fromkeys(key for setting in compared for key in setting.keys))
    rows = [
        (key, [(plain(s.keys[key]) if key in s.keys else "–", "", "") for s in compared])
        for key in keys
    ]
    return {"columns": [s.label for s in compared], "rows": rows, "notes": []} if rows else None


def paired_test(first: Setting, second: Setting, name: str) -> float | None:
    """Test two settings on the folds of a set, averaged over the seeds that both have.

    Where they share no seed, each side's folds are averaged over its own seeds. None where folds
    were not stored or differ in number.
    """
    sides = [_fold_accuracies(s, name) for s in (first, second)]
    shared = sides[0].keys() & sides[1].keys()
    if shared:
        sides = [{seed: side[seed] for seed in shared} for side in sides]
    lengths = {len(folds) for side in sides for folds in side.values()}
    if not all(sides) or len(lengths) != 1:
        return None
    return sign_flip(*(np.mean(list(side.values()), axis=0) for side in sides))


def _fold_accuracies(setting: Setting, name: str) -> dict[str, list[float]]:
    found = {}
    for run in setting.good:
        folds = run.evaluation.get(name, {}).get("fold_accuracies")
        if folds:
            found[str(run.seed)] = folds
    return found


def run_table(runs: list[Run], sets: list[str]) -> dict[str, Any]:
    """List every run with its status, accuracies and minutes."""
    rows = []
    for run in runs:
        bad = "bad" if run.status in ("diverged", "failed") else ""
        minutes = run.result.get("minutes")
        cells = [(run.status, "", bad)]
        cells += [(percent(run.score(name)), "", "") for name in sets]
        cells.append((f"{minutes:.1f}" if isinstance(minutes, int | float) else "–", "", ""))
        rows.append((run.name, cells))
    return {"columns": ["status", *sets, "minutes"], "rows": rows, "notes": []}
