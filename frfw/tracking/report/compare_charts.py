"""Charts over several runs: accuracy against a swept key, overlaid curves, ROC."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from frfw.tracking.report.charts import (
    SERIES,
    Chart,
    colour,
    draw,
    ink,
    percent_axis,
    smooth,
    step_axis,
    thin,
)
from frfw.tracking.report.settings import Setting, is_number, label, numeric_keys
from frfw.tracking.report.verification import SetScores, load_scores, roc_chart
from frfw.tracking.runs import Curve

_CURVES = {
    "train/loss": ("Loss", False),
    "head/accuracy_no_margin": ("Training accuracy without margin", True),
    "head/accuracy_margin": ("Training accuracy with margin", True),
    "head/cos_target_mean": ("Cosine to the own class", False),
    "head/max_negative_cos": ("Cosine to the nearest other class", False),
    "head/hard_share": ("Hard negatives", True),
    "head/t": ("t", False),
    "head/M_mean": ("M, mean over hard negatives", False),
    "train/grad_norm": ("Gradient norm", False),
    "train/images_per_s": ("Images per second", False),
}


def accuracy_by_key(compared: list[Setting], sets: list[str]) -> list[Chart]:
    """Draw accuracy against every swept number: a chart a set, a line for each other setting."""
    charts = [
        chart
        for key in numeric_keys(compared)
        for name in sets
        if (chart := _by_key(compared, key, name)) is not None
    ]
    return charts


def _by_key(compared: list[Setting], key: str, name: str) -> Chart | None:
    lines: dict[str, list[Setting]] = {}
    for setting in compared:
        if is_number(setting.keys.get(key)):
            rest = {k: v for k, v in setting.keys.items() if k != key}
            lines.setdefault(label(rest) or "accuracy", []).append(setting)
    lines = {k: v for k, v in lines.items() if any(len(s.accuracies(name)) for s in v)}
    several = any(sum(len(s.accuracies(name)) > 0 for s in v) > 1 for v in lines.values())
    if not several or len(lines) > SERIES:
        return None
    lost = [(i, s) for i, found in enumerate(lines.values()) for s in found
            if len(s.good) < len(s.runs)]  # fmt: skip

    def plot(axes: Axes) -> None:
        places = sorted({s.keys[key] for found in lines.values() for s in found})
        gap = min(np.diff(places)) if len(places) > 1 else 1.0
        for index, found in enumerate(lines.values()):
            # Side by side by a little, so that error bars do not hide each other.
            shift = (index - (len(lines) - 1) / 2) * 0.06 * gap
            _errorbars(axes, sorted(found, key=lambda s: s.keys[key]), key, name, index, shift)
        low, high = axes.get_ylim()
        foot = low - 0.06 * (high - low)
        if lost:
            axes.set_ylim(foot - 0.06 * (high - low), high)
        for index, setting in lost:
            shift = (index - (len(lines) - 1) / 2) * 0.06 * gap
            axes.plot(setting.keys[key] + shift, foot, "x", color=colour(index), ms=8, mew=2)
        if len(places) <= 8:
            axes.set_xticks(places, [f"{p:g}" for p in places])
        percent_axis(axes)

    legend = [(line, i, "") for i, line in enumerate(lines)]
    note = "Mean over seeds"
    if any(len(s.accuracies(name)) > 1 for found in lines.values() for s in found):
        note += ", ± standard deviation; small dots are single runs"
    note += "."
    note += " ×: a run diverged or failed." if lost else ""
    title = f"Accuracy on {name} by {key}"
    return draw(title, plot, legend=legend, xlabel=key, note=note, height=240)


def _errorbars(
    axes: Axes, found: list[Setting], key: str, name: str, index: int, shift: float
) -> None:
    found = [s for s in found if len(s.accuracies(name))]
    x = np.array([s.keys[key] for s in found]) + shift
    values = [s.accuracies(name) for s in found]
    mean = np.array([v.mean() for v in values])
    spread = np.array([v.std(ddof=1) if len(v) > 1 else 0.0 for v in values])
    axes.errorbar(x, mean, spread, color=colour(index), marker="o", ms=5, capsize=3, lw=1.8)
    for place, single in zip(x, values):
        if len(single) > 1:
            axes.plot([place] * len(single), single, ".", color=colour(index), alpha=0.6, ms=7)


def overlaid(compared: list[Setting]) -> list[Chart]:
    """Draw every logged number over all settings: mean over seeds, least to greatest as a band."""
    names = {
        name: (f"Accuracy on {name.split('/')[1]}", True)
        for setting in compared
        for run in setting.runs
        for name in run.curves
        if name.startswith("val/") and name.endswith("/accuracy")
    }
    charts = [_overlay(compared, name, *told) for name, told in {**names, **_CURVES}.items()]
    return [chart for chart in charts if chart is not None]


def _overlay(compared: list[Setting], name: str, title: str, percent: bool) -> Chart | None:
    colours = _colours(compared)
    found = [(s, curves) for s in compared
             if (curves := [r.curves[name] for r in s.runs if name in r.curves])]  # fmt: skip
    if not found:
        return None
    many = len(compared) > SERIES

    def plot(axes: Axes) -> None:
        for setting, curves in found:
            index = colours[setting.label][0]
            for curve in _merged(curves):
                window = len(curve.steps) // 15
                axes.plot(curve.steps, smooth(curve.values, window), color=colour(index),
                          alpha=0.6 if many else 1.0, lw=1.3 if many else 1.9)  # fmt: skip
            for run in setting.runs:
                if run.status == "diverged" and name in run.curves:
                    end = run.curves[name].finite()
                    if len(end.steps):
                        axes.plot(end.steps[-1], end.values[-1], "x", color=ink(False), ms=7, mew=2)
        step_axis(axes)
        if percent:
            percent_axis(axes)

    legend = dict.fromkeys((told, i) for i, told in colours.values())
    return draw(title, plot, legend=[(told, i, "") for told, i in legend], xlabel="step")


def _merged(curves: list[Curve]) -> list[Curve]:
    """Average the curves of several seeds where they have the same steps; else keep them apart."""
    curves = [c for curve in curves if len((c := curve.finite()).steps)]
    if len(curves) > 1 and all(np.array_equal(c.steps, curves[0].steps) for c in curves):
        mean = np.mean([c.values for c in curves], axis=0)
        curves = [Curve(curves[0].steps, mean, curves[0].seconds)]
    return [thin(curve, 200) for curve in curves]


def _colours(compared: list[Setting]) -> dict[str, tuple[int, str]]:
    """Give each setting a colour; where they are too many, each value of the first key."""
    if len(compared) <= SERIES:
        return {s.label: (i, s.label) for i, s in enumerate(compared)}
    values: dict[Any, int] = {}
    colours = {}
    for setting in compared:
        first = label(dict(list(setting.keys.items())[:1]))
        colours[setting.label] = (values.setdefault(first, len(values)) % SERIES, first)
    return colours


def rocs(compared: list[Setting], sets: list[str]) -> list[Chart]:
    """Draw the ROC of each setting's first run on every set, where settings are few."""
    if len(compared) > SERIES:
        return []
    charts = []
    for name in sets:
        scores = [
            SetScores(s.label, found.genuine, found.impostor)
            for s in compared
            for run in s.good[:1]
            if (found := load_scores(run.folder / "evaluation", name)) is not None
        ]
        chart = roc_chart(scores, f"ROC on {name}")
        if chart is not None:
            charts.append(chart)
    return charts
