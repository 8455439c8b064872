"""The curves of one run, from loss to waiting for data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from frfw.tracking.headline import headline, in_words
from frfw.tracking.report.charts import (
    Chart,
    colour,
    draw,
    percent_axis,
    short,
    smooth,
    step_axis,
    thin,
)
from frfw.tracking.runs import Curve

Curves = Mapping[str, Curve]


def training_charts(curves: Curves) -> list[Chart]:
    """Draw what the run logged; a chart whose numbers are not there is left out."""
    charts = [
        _lines(curves, "Loss", {"train/loss": "training loss"}, smoothed=True),
        _lines(curves, "Accuracy in training", {
            "head/accuracy_no_margin": "without margin", "head/accuracy_margin": "with margin",
        }, percent=True, smoothed=True,
            note="Share of the batch whose own class scores highest, before and after the margin."),
        _validation(curves),
        _searches(curves),
        _cosines(curves),
        _state_and_modulation(curves),
        _lines(curves, "Hard negatives", {"head/hard_share": "share of negatives"}, percent=True,
               smoothed=True, note="Negatives whose cosine lies above the target with its margin."),
        _lines(curves, "Learning rate", {"train/lr": "lr"}),
        _lines(curves, "Gradient norm", {"train/grad_norm": "before clipping"}, smoothed=True),
        _lines(curves, "Feature norm", {"head/feature_norm": "mean length"}, smoothed=True,
               note="Mean length of the embeddings before normalisation."),
        _lines(curves, "Throughput", {"train/images_per_s": "images/s"}, smoothed=True, zero=True),
        _lines(curves, "Waiting for data", {"train/data_wait": "share of the time"}, percent=True,
               zero=True, smoothed=True),
    ]  # fmt: skip
    return [chart for chart in charts if chart is not None]


def _found(curves: Curves, names: Mapping[str, str]) -> list[tuple[str, Curve]]:
    found = [(label, curves[name].finite()) for name, label in names.items() if name in curves]
    return [(label, curve) for label, curve in found if len(curve.steps)]


def _lines(
    curves: Curves,
    title: str,
    names: Mapping[str, str],
    *,
    percent: bool = False,
    smoothed: bool = False,
    zero: bool = False,
    note: str = "",
) -> Chart | None:
    found = _found(curves, names)
    if not found:
        return None

    def plot(axes: Axes) -> None:
        for index, (_, curve) in enumerate(found):
            line(axes, curve, index, smoothed)
        step_axis(axes)
        if percent:
            percent_axis(axes)
        if zero:
            axes.set_ylim(bottom=0)

    legend = [(label, i, value(c.last, percent)) for i, (label, c) in enumerate(found)]
    return draw(title, plot, legend=legend, note=note, xlabel="step")


def line(axes: Axes, curve: Curve, index: int, smoothed: bool = False) -> None:
    """Draw a curve; where it is noisy, faintly, with its running mean over it."""
    curve = thin(curve)
    window = len(curve.steps) // 15 if smoothed else 0
    if window > 2:
        axes.plot(curve.steps, curve.values, color=colour(index), alpha=0.25, lw=1)
    marker = "o" if len(curve.steps) <= 12 else None
    axes.plot(curve.steps, smooth(curve.values, window), color=colour(index), marker=marker, ms=3.5)


def value(number: float, percent: bool = False) -> str:
    """Write the last value of a curve for its legend."""
    if not np.isfinite(number):
        return str(number)
    if percent:
        return f"{100 * number:.2f} %" if number > 0.9 else f"{100 * number:.1f} %"
    return short(number) if abs(number) >= 1000 else f"{number:.3g}"


def _validation(curves: Curves) -> Chart | None:
    names = {
        name: name.split("/")[1]
        for name in curves
        if name.startswith("val/") and name.endswith("/accuracy")
    }
    return _lines(curves, "Verification accuracy", names, percent=True)


def _searches(curves: Curves) -> Chart | None:
    """Identification and template sets, each by the figure that stands for it."""
    figures: dict[str, dict[str, None]] = {}
    for name in curves:
        if name.startswith("val/") and name.count("/") == 2:
            figures.setdefault(name.split("/")[1], {})[name.split("/")[2]] = None
    heads = {name: head for name, own in figures.items() if (head := headline(own))}
    names = {f"val/{name}/{head}": f"{name}, {in_words(head)}"
             for name, head in heads.items() if head != "accuracy"}  # fmt: skip
    return _lines(curves, "Identification and templates", names, percent=True)


def _band(axes: Axes, low: Curve, high: Curve, index: int) -> None:
    low, high = thin(low), thin(high)
    if len(low.steps) == len(high.steps):
        axes.fill_between(low.steps, low.values, high.values, color=colour(index), alpha=0.16, lw=0)


def _cosines(curves: Curves) -> Chart | None:
    names = {"head/cos_target_mean": "own class", "head/max_negative_cos": "nearest other class"}
    found = _found(curves, names)
    if not found:
        return None
    edges = [curves.get(f"head/cos_target_p{p}") for p in (10, 90)]

    def plot(axes: Axes) -> None:
        if edges[0] is not None and edges[1] is not None:
            _band(axes, edges[0], edges[1], 0)
        for index, (_, curve) in enumerate(found):
            line(axes, curve, index, smoothed=True)
        step_axis(axes)

    legend = [(label, i, value(c.last)) for i, (label, c) in enumerate(found)]
    note = "Mean cosine of embedding and class centre; the band holds the middle 80 %."
    return draw("Cosines", plot, legend=legend, xlabel="step", note=note)


def _state_and_modulation(curves: Curves) -> Chart | None:
    """CurricularFace's t, and the factor M = dN/dcos on the gradient of hard negatives."""
    found = _found(curves, {"head/M_mean": "M, mean", "head/t": "t"})
    if not found:
        return None
    edges = [curves.get(f"head/M_{end}") for end in ("min", "max")]

    def plot(axes: Axes) -> None:
        if edges[0] is not None and edges[1] is not None:
            _band(axes, edges[0], edges[1], 0)
        for index, (_, curve) in enumerate(found):
            line(axes, curve, index, smoothed=True)
        step_axis(axes)

    names = [label for label, _ in found]
    legend = [(label, i, value(c.last)) for i, (label, c) in enumerate(found)]
    note = "M is the slope dN/dcos over the hard negatives, from least to greatest in the band."
    title = "Modulation M and t" if len(names) == 2 else "State t" if "t" in names else "M"
    return draw(title, plot, legend=legend, xlabel="step", note=note if "M, mean" in names else "")
