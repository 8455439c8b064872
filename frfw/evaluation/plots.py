"""Figures of results: ROC on a log axis, score histograms, CMC, robustness, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from frfw.evaluation.result import VerificationResult

if TYPE_CHECKING:
    from frfw.evaluation.calibration import Calibration
    from frfw.evaluation.robustness import RobustnessResult
    from frfw.evaluation.stream import StreamResult


def _figure(title: str, across: str, up: str, size: tuple[float, float] = (5.6, 4.0)) -> Axes:
    # A bare Figure, not pyplot: nothing global, so it is safe in threads and leaves nothing open.
    axes = Figure(figsize=size, layout="constrained").add_subplot()
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.grid(alpha=0.3)
    return axes


def roc_figure(
    results: Mapping[str, VerificationResult] | Sequence[VerificationResult] | VerificationResult,
) -> Figure:
    """Draw TAR over FAR, FAR on a log axis down to one impostor."""
    if isinstance(results, VerificationResult):
        results = [results]
    if not isinstance(results, Mapping):
        results = {result.name or str(at): result for at, result in enumerate(results)}
    axes = _figure("ROC", "false accept rate (FAR)", "true accept rate (TAR)")
    lowest, floor = 0.1, 1.0
    for name, result in results.items():
        curve = result.roc()
        one = 1 / max(1, int((~result.same).sum()))
        lowest = min(lowest, one)
        floor = min(floor, float(curve.tar[np.searchsorted(curve.far, one, "right") - 1]))
        label = f"{name} (AUC {100 * result.auc:.2f} %)"
        axes.step(np.maximum(curve.far, one / 2), curve.tar, where="post", label=label)
    axes.set_xscale("log")
    axes.set_xlim(lowest, 1)
    axes.set_ylim(max(0.0, floor - 0.05), 1.005)
    if results:
        axes.legend(loc="lower right")
    return axes.figure


def histogram_figure(result: VerificationResult) -> Figure:
    """Draw genuine and impostor cosines with the 10-fold threshold and those of the FARs."""
    axes = _figure(f"scores: {result.name}", "cosine", "density")
    bins = np.linspace(result.scores.min(), result.scores.max() + 1e-6, 61)
    for kind, label, colour in ((True, "same", "C0"), (False, "different", "C1")):
        chosen = result.scores[result.same == kind]
        axes.hist(chosen, bins, density=True, alpha=0.6, label=label, color=colour)
    middle = 1 - result.threshold / 2
    axes.axvline(middle, color="0.2", label=f"10-fold threshold {middle:.3f}")
    for point in result.operating_points:
        if point.threshold is not None:
            axes.axvline(
                point.threshold, color="0.4", linestyle=":", linewidth=1,
                label=f"FAR {point.target:g}: {point.threshold:.3f}",
            )  # fmt: skip
    axes.legend(fontsize=8)
    return axes.figure


def cmc_figure(curves: Mapping[str, NDArray[np.floating]]) -> Figure:
    """Draw rank-k identification rates, rank on a log axis."""
    axes = _figure("CMC", "rank", "identification rate")
    for name, rates in curves.items():
        axes.plot(np.arange(1, len(rates) + 1), rates, label=name)
    axes.set_xscale("log")
    axes.legend(loc="lower right")
    return axes.figure


def stream_roc_figure(name: str, result: StreamResult) -> Figure:
    """Draw TAR over FAR of template pairs, FAR on a log axis down to one impostor."""
    axes = _figure(f"ROC: {name}", "false accept rate (FAR)", "true accept rate (TAR)")
    far, tar = (np.asarray(result.curve[key]) for key in ("far", "tar"))
    lowest = 1 / max(1, result.impostor_count)
    axes.step(np.maximum(far, lowest / 2), tar, where="post")
    axes.set_xscale("log")
    axes.set_xlim(min(lowest, 0.1), 1)
    return axes.figure


def worst_figure(
    name: str,
    left: NDArray[np.uint8],
    right: NDArray[np.uint8],
    scores: NDArray[np.floating],
    same: NDArray[np.bool_],
) -> Figure:
    """Draw pairs of faces with their cosine: false accepts above, false rejects below.

    Args:
        left, right: (N, H, W, 3) uint8 RGB.
        scores, same: (N,) cosine, and whether it is one person.
    """
    kinds = {"false accepts": np.flatnonzero(~same), "false rejects": np.flatnonzero(same)}
    rows = {kind: of for kind, of in kinds.items() if len(of)}
    across = max(len(of) for of in rows.values())
    figure = Figure(figsize=(1.7 * across + 0.3, 1.2 * len(rows) + 0.5), layout="constrained")
    grid = figure.subplots(len(rows), across, squeeze=False)
    for line, of in zip(grid, rows.values()):
        for axes in line:
            axes.set_axis_off()
        for axes, pair in zip(line, of):
            axes.imshow(np.hstack([left[pair], right[pair]]))
            axes.set_title(f"{scores[pair]:.3f}", fontsize=9)
    figure.suptitle(f"{name}: {', then '.join(rows)}, with their cosine", fontsize=10)
    return figure


def robustness_figure(result: RobustnessResult) -> Figure:
    """Draw accuracy from unchanged to strongest, a line a change; steps, not units, across."""
    axes = _figure(f"robustness: {result.name}", "strength", "10-fold accuracy", (6.4, 4.4))
    longest = 0
    for name in dict.fromkeys(row["kind"] for row in result.rows):
        graded = [row for row in result.rows if row["kind"] == name]
        longest = max(longest, len(graded))
        rates = [result.clean["accuracy"], *(row["accuracy"] for row in graded)]
        label = f"{name} " + ", ".join(f"{row['strength']:g}" for row in graded)
        axes.plot(range(len(rates)), rates, marker="o", markersize=3, label=label)
    axes.set_xticks(range(longest + 1), ["unchanged", *map(str, range(1, longest + 1))])
    axes.legend(fontsize=7, loc="lower left")
    return axes.figure


def calibration_figure(calibration: Calibration) -> Figure:
    """Draw the score-to-log-likelihood-ratio map and the chosen threshold."""
    axes = _figure("calibration", "cosine", "log10 likelihood ratio")
    log_ratio = np.asarray(calibration.log_ratios) / np.log(10)
    axes.step(calibration.knots, log_ratio, where="post")
    axes.axvline(calibration.threshold, color="0.3", linestyle=":", label="threshold")
    if calibration.threshold_interval is not None:
        axes.axvspan(*calibration.threshold_interval, color="0.5", alpha=0.2, label="95 % interval")
    axes.legend()
    return axes.figure


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG (or what the suffix says); return the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
