"""Charts over several runs: accuracy against a swept key, overlaid curves, ROC."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from frfw.tracking.headline import in_words
from frfw.tracking.report.charts import (
    SERIES,
    Chart,
    colour,
    draw,
    ink,
    percent_axis,
    power_axis,
    smooth,
    step_axis,
    thin,
)
from frfw.tracking.report.settings import Setting, is_number, label, numeric_keys
from frfw.tracking.report.verification import SetScores, load_scores, roc_chart
from frfw.tracking.runs import Curve

_ROWS = 24  # settings in one chart
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
    levels: list[Setting] = []  # where the key is a word, like loss.t=adaptive
    for setting in compared:
        if is_number(setting.keys.get(key)):
            lines.setdefault(_rest(setting, key), []).append(setting)
        elif len(setting.accuracies(name)) and setting.keys.get(key) is not None:
            levels.append(setting)
    levels = levels if len(lines) + len(levels) <= SERIES else []
    lines = {k: v for k, v in lines.items() if any(len(s.accuracies(name)) or s.lost for s in v)}
    several = any(sum(len(s.accuracies(name)) > 0 for s in v) > 1 for v in lines.values())
    if not several or len(lines) > SERIES:
        return _scatter(compared, key, name)
    lost = [(i, s) for i, found in enumerate(lines.values()) for s in found
            if s.lost]  # fmt: skip

    def plot(axes: Axes) -> None:
        places = sorted({s.keys[key] for found in lines.values() for s in found})
        gap = min(np.diff(places)) if len(places) > 1 else 1.0
        for index, found in enumerate(lines.values()):
            # Side by side by a little, so that error bars do not hide each other.
            shift = (index - (len(lines) - 1) / 2) * 0.06 * gap
            _errorbars(axes, sorted(found, key=lambda s: s.keys[key]), key, name, index, shift)
        for index, setting in enumerate(levels, len(lines)):
            axes.axhline(setting.accuracies(name).mean(), color=colour(index), ls="--", lw=1.4)
        low, high = axes.get_ylim()
        foot = low - 0.06 * (high - low)
        if lost:
            axes.set_ylim(foot - 0.06 * (high - low), high)
        for index, setting in lost:
            shift = (index - (len(lines) - 1) / 2) * 0.06 * gap
            axes.plot(setting.keys[key] + shift, foot, "x", color=colour(index), ms=8, mew=2)
        marks = [f"{p:g}" for p in places]
        if _fit(places, marks):
            axes.set_xticks(places, marks)
        percent_axis(axes)

    legend = [(line, i, "") for i, line in enumerate(lines)]
    legend += [(s.label, i, "") for i, s in enumerate(levels, len(lines))]
    note = "Mean over seeds"
    if any(len(s.accuracies(name)) > 1 for found in lines.values() for s in found):
        note += ", ± standard deviation; small dots are single runs"
    note += "; dashed: settings where it is no number" if levels else ""
    note += "."
    note += " ×: a run diverged or failed." if lost else ""
    title = f"{figure_on(compared, name)} by {key}"
    return draw(title, plot, legend=legend, xlabel=key, note=note, height=240)


def _rest(setting: Setting, key: str) -> str:
    return label({k: v for k, v in setting.keys.items() if k != key}) or "accuracy"


def accuracy_by_setting(compared: list[Setting], sets: list[str]) -> list[Chart]:
    """Draw a row a setting on every set, for settings that no number tells apart."""
    if not 1 < len(compared) <= _ROWS:
        return []
    charts = [_dots(compared, name) for name in sets]
    return [chart for chart in charts if chart is not None]


def _dots(compared: list[Setting], name: str) -> Chart | None:
    scored = [(i, s) for i, s in enumerate(compared) if len(s.accuracies(name))]
    if len(scored) < 2:
        return None

    def plot(axes: Axes) -> None:
        for row, setting in scored:
            values = setting.accuracies(name)
            spread = values.std(ddof=1) if len(values) > 1 else 0.0
            axes.errorbar(values.mean(), -row, xerr=spread, color=colour(0), marker="o", ms=6.5,
                          capsize=3, lw=1.8)  # fmt: skip
            if len(values) > 1:
                axes.plot(values, [-row] * len(values), ".", color=colour(0), alpha=0.55, ms=7)
        low = axes.get_xlim()[0]
        for row, setting in enumerate(compared):
            if any(r.status in ("diverged", "failed") for r in setting.runs):
                axes.plot(low, -row, "x", color=colour(6), ms=8, mew=2, clip_on=False)
        names = [s.label if len(s.label) < 19 else s.label[:17] + "…" for s in compared]
        axes.set_yticks([-row for row in range(len(compared))], names)
        axes.set_ylim(0.5 - len(compared), 0.5)
        axes.grid(axis="x", visible=True)
        percent_axis(axes, "x")

    lost = any(s.lost for s in compared)
    note = "Mean over seeds, ± standard deviation; small dots are single runs."
    note += " ×: a run diverged or failed." if lost else ""
    return draw(f"{figure_on(compared, name)} by setting", plot, note=note,
                height=max(150, 60 + 26 * len(compared)), margins=(128, 14, 8, 30))  # fmt: skip


def figure_on(compared: list[Setting], name: str) -> str:
    """Say what is shown of a set: `Accuracy on lfw`, `Rank 1 on search`."""
    heads = [run.headlines.get(name) for s in compared for run in s.runs]
    words = next((in_words(head) for head in heads if head), "accuracy")
    return f"{words[0].upper()}{words[1:]} on {name}"


def _fit(places: list[float], marks: list[str]) -> bool:
    """Whether marks at these places stand apart on a phone, where an axis is 45 digits long."""
    room = min(np.diff(places), default=1.0) / max(places[-1] - places[0], 1e-12) * 45
    return room >= max(map(len, marks)) + 1


def _scatter(compared: list[Setting], key: str, name: str) -> Chart | None:
    """Draw a dot a setting where nearly each has values of its own, as in a search."""
    shown = [s for s in compared if is_number(s.keys.get(key))]
    word = next((k for s in compared for k, v in s.keys.items() if not is_number(v)), None)
    kinds = {v: i for i, v in enumerate(dict.fromkeys(str(s.keys.get(word)) for s in shown))}
    if len(kinds) > SERIES:
        word, kinds = None, {}
    scored = [s for s in shown if len(s.accuracies(name))]
    lost = [s for s in shown if any(r.status in ("diverged", "failed") for r in s.runs)]
    if len({s.keys[key] for s in scored}) < 4:  # too few to see anything in
        return None

    def plot(axes: Axes) -> None:
        for setting in scored:
            index = kinds.get(str(setting.keys.get(word)), 0)
            mean = setting.accuracies(name).mean()
            axes.plot(setting.keys[key], mean, "o", color=colour(index), ms=6.5, alpha=0.8)
        foot = axes.get_ylim()[0]
        for setting in lost:
            index = kinds.get(str(setting.keys.get(word)), 0)
            axes.plot(setting.keys[key], foot, "x", color=colour(index), ms=8, mew=2)
        places = [s.keys[key] for s in shown]
        if min(places) > 0 and max(places) / min(places) > 20:
            axes.set_xscale("log")
            power_axis(axes)
        percent_axis(axes)

    legend = [(kind, i, "") for kind, i in kinds.items()] if word else []
    note = "A dot a setting." + (" ×: a run diverged or failed." if lost else "")
    title = f"{figure_on(compared, name)} by {key}"
    return draw(title, plot, legend=legend, xlabel=key, note=note, height=240)


def _errorbars(
    axes: Axes, found: list[Setting], key: str, name: str, index: int, shift: float
) -> None:
    found = [s for s in found if len(s.accuracies(name))]
    if not found:  # every run of this line was lost
        return
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
    names = {}
    for run in (run for setting in compared for run in setting.runs):
        for name in (*run.sets, *run.protocol_sets):
            curve = f"val/{name}/{run.headlines.get(name, 'accuracy')}"
            names[curve] = (figure_on(compared, name), True)
    charts = [_overlay(compared, name, *told) for name, told in {**names, **_CURVES}.items()]
    return [chart for chart in charts if chart is not None]


def _overlay(compared: list[Setting], name: str, title: str, percent: bool) -> Chart | None:
    colours = _colours(compared)
    found = [(s, curves) for s in compared
             if (curves := [r.curves[name] for r in s.runs if name in r.curves])]  # fmt: skip
    if all(len(curve.steps) < 2 for _, curves in found for curve in curves):
        return None  # one point a run is in the tables
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
