"""Charts as small inline SVG whose colours are the page's: one drawing for light and dark.

matplotlib draws with a few made-up colours, which are then replaced by CSS variables; text stays
text, in the page's font. All charts have one size, made to be read at a phone's width.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from frfw.tracking.runs import Curve

WIDTH, HEIGHT = 372, 214  # points
WIDE, HALF = 797, 587  # over two of three columns of the page; one of two
SOLID, DASHED = -1, -2
SERIES = 8  # colours of the style sheet: --s0 .. --s7
_INK, _SOFT, _GRID = "#010203", "#010204", "#010205"
_SERIES = [f"#01020{i:x}" for i in range(6, 6 + SERIES)]
_VARIABLES = {
    _INK: "var(--ink)",
    _SOFT: "var(--soft)",
    _GRID: "var(--grid)",
    **{colour: f"var(--s{i})" for i, colour in enumerate(_SERIES)},
}
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.8,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.9,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "path.simplify_threshold": 0.3,
}


@dataclass
class Chart:
    """A drawing with what the page says around it."""

    title: str
    svg: str
    # Name, colour (or SOLID or DASHED for a line in the colour of text) and value.
    legend: list[tuple[str, int, str]] = field(default_factory=list)
    note: str = ""
    wide: str = ""  # the same drawing for two columns, where the page has room
    redraw: Callable[[int], str] | None = field(default=None, repr=False)


def spread(charts: list[Chart]) -> list[Chart]:
    """Draw some charts wider too, so that they fill rows of three where the page has room.

    Two and four share rows of two. Else the first, which one looks at first, takes two columns,
    and the last too where that is needed.
    """
    count = len(charts)
    pairs = count in (2, 4)
    chosen = range(count) if pairs else {0: (), 1: (0, count - 1), 2: (0,)}[count % 3]
    for chart in (charts[i] for i in sorted(set(chosen))):
        if chart.redraw is not None:
            chart.wide = chart.redraw(HALF if pairs else WIDE)
    return charts


def colour(index: int) -> str:
    """Return the made-up colour that becomes the style sheet's `--s<index>`."""
    return _SERIES[index % SERIES]


def ink(soft: bool = True) -> str:
    """Return the made-up colour of text: what is neither better nor worse than another."""
    return _SOFT if soft else _INK


def draw(
    title: str,
    plot: Callable[[Axes], None],
    *,
    legend: Sequence[tuple[str, int, str]] = (),
    note: str = "",
    xlabel: str = "",
    height: int = HEIGHT,
    margins: tuple[int, int, int, int] = (44, 10, 8, 36),
) -> Chart:
    """Let `plot` draw on axes of the house's style, and return the drawing as inline SVG."""
    left, right, top, bottom = margins

    def svg(width: int) -> str:
        with mpl.rc_context(_STYLE):
            figure = Figure(figsize=(width / 72, height / 72))
            figure.patch.set_alpha(0)
            axes = figure.subplots()
            axes.patch.set_alpha(0)
            axes.grid(axis="x", visible=False)
            plot(axes)
            axes.set_xlabel(xlabel)
            # Fixed margins, in points: room for "100 %" and for a line of text under the ticks.
            wide, high = 1 - (left + right) / width, 1 - (top + bottom) / height
            axes.set_position((left / width, bottom / height, wide, high))
            return _inline(figure, title, f"{title} {width}")

    return Chart(title, svg(WIDTH), list(legend), note, redraw=svg)


def _inline(figure: Figure, title: str, salt: str) -> str:
    buffer = io.StringIO()
    # The salt keeps ids of different charts apart: they all end up in one document.
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    label = title.replace("&", "and").replace('"', "").replace("<", "")
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font: \1px var(--font)", svg)
    svg = re.sub(r"<title>.*?</title>", "", svg)
    for made_up, variable in _VARIABLES.items():
        svg = svg.replace(made_up, variable)
    return re.sub(r"\n\s*", "\n", svg).strip()


def thin(curve: Curve, points: int = 300) -> Curve:
    """Average a long curve over equally many neighbours, so that the page stays small."""
    curve = curve.finite()
    every = -(-len(curve.steps) // points)
    if every <= 1:
        return curve
    starts = np.arange(0, len(curve.steps), every)
    counts = np.diff([*starts, len(curve.steps)])

    def mean(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values.astype(np.float64), starts) / counts

    return Curve(mean(curve.steps), mean(curve.values), mean(curve.seconds))


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Return the centred running mean; at the ends over what there is."""
    if window <= 1 or len(values) < 3:
        return values
    half = min(window, len(values)) // 2
    total = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    return (total[high] - total[low]) / (high - low)


def step_axis(axes: Axes) -> None:
    """Mark optimizer steps: 0, 500, 1k, 20k, 1.5M."""
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(x)))
    axes.yaxis.set_major_locator(_round_steps())


def _round_steps() -> MaxNLocator:
    return MaxNLocator(6, steps=[1, 2, 5, 10])  # never 2.5, which "98 %" could not show


def percent_axis(axes: Axes, which: str = "y") -> None:
    """Mark shares in 0..1 as per cent, with as many digits as the range needs."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_locator(_round_steps())

    def mark(value: float, _: object) -> str:
        low, high = axis.get_view_interval()
        digits = 0 if high - low > 0.05 else 1 if high - low > 0.005 else 2
        return f"{100 * value:.{digits}f} %"

    axis.set_major_formatter(FuncFormatter(mark))


def power_axis(axes: Axes, which: str = "x") -> None:
    """Mark a log axis with 1, 0.1, 0.01, 10⁻³, 10⁻⁴ ... in plain text."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    axis.set_minor_formatter(FuncFormatter(lambda *_: ""))


def power(value: float) -> str:
    """Write a power of ten in words of a paper: 10⁻⁴; plain where that is shorter."""
    if value <= 0:
        return "0"
    exponent = round(np.log10(value))
    if abs(np.log10(value) - exponent) > 1e-6 or exponent > -3:
        return f"{value:g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def short(value: float) -> str:
    """Write a count shortly: 950, 1.5k, 20k, 3M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.4g}"
