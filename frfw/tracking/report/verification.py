"""What the evaluation found: tiles, table, ROC, histograms, worst pairs."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes

from frfw.errors import FrfwError
from frfw.tracking.report.charts import (
    DASHED,
    SOLID,
    Chart,
    colour,
    draw,
    ink,
    percent_axis,
    power,
    power_axis,
)
from frfw.tracking.runs import Run
from frfw.tracking.worst import load_worst


@dataclass
class SetScores:
    """Scores of one verification set: rising genuine and impostor cosines."""

    name: str
    genuine: np.ndarray
    impostor: np.ndarray


@dataclass
class Picture:
    """One wrongly decided pair."""

    left: str  # data URIs
    right: str
    score: float
    position: int


def percent(share: float | None, digits: int = 2) -> str:
    """Write a share in 0..1 as per cent; what is not known as a dash."""
    return "–" if share is None or not np.isfinite(share) else f"{100 * share:.{digits}f}"


def tiles(run: Run) -> list[dict[str, Any]]:
    """Describe the accuracy on every set: figure, interval, number of pairs."""
    found = []
    for name in run.sets:
        accuracy = run.accuracy(name)
        figures = run.evaluation.get(name, {})
        interval = (figures.get("intervals") or {}).get("accuracy")
        spread = figures.get("standard_error")
        if interval:
            low, high = (percent(end, 1) for end in interval)
            told = f"95 %: {low} – {high}".replace(" ", "\N{NO-BREAK SPACE}")
        else:
            told = f"± {percent(spread)} standard error" if spread is not None else ""
        pairs = figures.get("pair_count")
        found.append({
            "name": name, "figure": percent(accuracy), "told": told,
            "pairs": f"{pairs:,} pairs" if pairs else "",
            "bar": _bar(accuracy, interval or (spread and (accuracy - spread, accuracy + spread))),
        })  # fmt: skip
    return found


def _bar(accuracy: float | None, ends: Any) -> tuple[float, float, float] | None:
    """Return where the interval begins, its width, and the figure, in % of 50 .. 100 %."""
    if accuracy is None or not ends:
        return None
    low, high, at = (min(max(200 * x - 100, 0.0), 100.0) for x in (*ends, accuracy))
    return round(low, 1), round(max(high - low, 0.5), 1), round(at, 1)


def table(run: Run) -> dict[str, Any]:
    """Return the result table: columns, rows of cells, and the notes under it."""
    targets = sorted(
        {p["target"] for f in run.evaluation.values() for p in f.get("operating_points") or ()},
        reverse=True,
    )
    known = {p["target"] for f in run.evaluation.values()
             for p in f.get("operating_points") or () if p.get("tar") is not None}  # fmt: skip
    shown = [t for t in targets if t in known]
    columns = ["accuracy", "exact", "AUC", "EER", *(f"TAR at FAR {power(t)}" for t in shown)]
    rows, notes = [], {}
    for name, figures in evaluated(run):
        points = {p["target"]: p for p in figures.get("operating_points") or ()}
        cells = [_cell(figures, "accuracy", figures.get("standard_error"))]
        cells += [_cell(figures, key) for key in ("exact_accuracy", "auc", "eer")]
        cells += [_tar_cell(figures, points.get(t)) for t in shown]
        rows.append((name, cells))
        for said in filter(None, [_far_note(points), *_detail_notes(figures)]):
            notes.setdefault(said, []).append(name)
    told = [f"{', '.join(names)}: {said}" for said, names in notes.items()]
    return {"columns": columns, "rows": rows, "notes": told}


def evaluated(run: Run) -> list[tuple[str, dict[str, Any]]]:
    """Return (set, figures) in the order in which the run was scored on the sets."""
    return [(name, run.evaluation[name]) for name in run.sets if name in run.evaluation]


def _detail_notes(figures: dict[str, Any]) -> list[str]:
    """Say what a reader must know of how the pairs or the checkpoint were chosen."""
    details = figures.get("details") or {}
    told = [
        f"{details[key]:,} {word}."
        for key, word in (("skipped_pairs", "pairs were left out, their images are missing"),
                          ("repeated_pairs", "pairs are there more than once"),
                          ("disputed_pairs", "pairs are said to be both same and different"))
        if details.get(key)
    ]  # fmt: skip
    if details.get("chosen_on_this_set"):
        told.append("best.pt was chosen by its score on this very set, so its figures flatter.")
    return told


def _far_note(points: dict[float, dict[str, Any]]) -> str:
    """Say in one line which false accept rates the impostors are too few for."""
    empty = [t for t, p in points.items() if p.get("tar") is None]
    coarse = [t for t, p in points.items() if p.get("tar") is not None and p.get("note")]
    said = []
    if coarse:
        said.append(f"FAR {', '.join(power(t) for t in coarse)} means no false accept at all here")
    if empty:
        said.append(f"the impostors are too few for FAR {power(max(empty))} and below")
    return "; ".join(said) + "." if said else ""


def _cell(figures: dict[str, Any], key: str, spread: float | None = None) -> tuple[str, str]:
    interval = (figures.get("intervals") or {}).get(key)
    small = f"± {percent(spread)}" if spread is not None else ""
    if interval:
        small = f"{percent(interval[0], 1)} – {percent(interval[1], 1)}"
    return percent(figures.get(key)), small


def _tar_cell(figures: dict[str, Any], point: dict[str, Any] | None) -> tuple[str, str]:
    if point is None or point.get("tar") is None:
        return "–", "too few impostors" if point else ""
    intervals = figures.get("intervals") or {}
    target = point["target"]
    if f"tar@{target:g}" not in intervals:
        return percent(point["tar"]), ""
    low, high = intervals[f"tar@{target:g}"]
    return percent(point["tar"]), f"{percent(low, 1)} – {percent(high, 1)}"


def group_tables(run: Run) -> list[dict[str, Any]]:
    """Return one table a set that was scored by group: rows (group, cells)."""
    tables = []
    for name, figures in evaluated(run):
        groups = {g: f for g, f in (figures.get("groups") or {}).items() if isinstance(f, dict)}
        numbers = [k for k in ("accuracy", "exact_accuracy", "auc", "eer")
                   if any(isinstance(f.get(k), int | float) for f in groups.values())]  # fmt: skip
        rows = [
            (str(g), [(f"{f['pair_count']:,}" if "pair_count" in f else "–", ""),
                      *(_cell(f, k, _spread(f, k)) for k in numbers)])
            for g, f in groups.items()
        ]  # fmt: skip
        if rows:
            columns = [{"auc": "AUC", "eer": "EER"}.get(k, k.replace("_", " ")) for k in numbers]
            notes = [f"{g}: {f['note']}" for g, f in groups.items() if f.get("note")]
            columns = ["pairs", *columns]
            tables.append({"name": name, "columns": columns, "rows": rows, "notes": notes})
    return tables


def _spread(figures: dict[str, Any], key: str) -> float | None:
    return figures.get("standard_error") if key == "accuracy" else None


def load_scores(folder: Path, name: str) -> SetScores | None:
    """Read `<name>.npz` of an evaluation folder, or return None where it is not there.

    Raises:
        FrfwError: the file is there and does not hold scores.
    """
    path = folder / f"{name}.npz"
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            scores, same = arrays["scores"].astype(np.float64), arrays["same"].astype(bool)
    except Exception as error:  # a damaged archive raises nearly anything in there
        raise FrfwError(f"{path} is damaged: no scores can be read from it") from error
    if scores.shape != same.shape or not np.isfinite(scores).all():
        raise FrfwError(f"{path}: scores {scores.shape} do not fit, or are not finite")
    return SetScores(name, np.sort(scores[same]), np.sort(scores[~same]))


def roc_chart(sets: list[SetScores], title: str = "ROC") -> Chart | None:
    """Draw TAR over FAR, FAR on a log axis that ends at one impostor."""
    sets = [s for s in sets if len(s.genuine) and len(s.impostor)]
    if not sets:
        return None
    lowest = min(1 / len(s.impostor) for s in sets)

    def plot(axes: Axes) -> None:
        bottom = 1.0
        for index, scores in enumerate(sets):
            far, tar = roc_points(scores)
            axes.plot(far, tar, color=colour(index), drawstyle="steps-post")
            bottom = min(bottom, float(tar[0]))
        axes.set_xscale("log")
        axes.set_xlim(lowest, 1)
        axes.set_ylim(max(0.0, bottom - 0.05), 1.005)
        power_axis(axes)
        percent_axis(axes)

    legend = [(s.name, i, "") for i, s in enumerate(sets)]
    note = "Share of genuine pairs accepted; each curve begins at a single false accept."
    return draw(title, plot, legend=legend, xlabel="false accept rate", note=note)


def roc_points(scores: SetScores, points: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Return (FAR, TAR) at no more than `points` numbers of false accepts, evenly in log FAR."""
    n = len(scores.impostor)
    counts = np.arange(1, n + 1)
    if n > points:
        counts = np.unique(np.geomspace(1, n, points).round().astype(np.int64))
    # The threshold that lets in k impostors: the k-th highest impostor score itself.
    thresholds = scores.impostor[n - counts]
    far = (n - np.searchsorted(scores.impostor, thresholds, "left")) / n
    accepted = len(scores.genuine) - np.searchsorted(scores.genuine, thresholds, "left")
    return far, accepted / len(scores.genuine)


def histogram(scores: SetScores, figures: dict[str, Any]) -> Chart:
    """Draw genuine and impostor scores with the thresholds."""
    both = np.concatenate([scores.genuine, scores.impostor])
    edges = np.linspace(both.min(), both.max() + 1e-9, 49)
    marks = thresholds(figures)

    def plot(axes: Axes) -> None:
        for index, values in ((0, scores.genuine), (1, scores.impostor)):
            axes.hist(values, edges, density=True, color=colour(index), alpha=0.22)
            axes.hist(values, edges, density=True, color=colour(index), histtype="step", lw=1.6)
        for _, at, style in marks:
            axes.axvline(at, color=ink(), lw=1.3, ls="-" if style == SOLID else (0, (3, 2)))
        axes.set_yticks([])

    legend = [
        ("same person", 0, ""),
        ("different people", 1, ""),
        *((label, style, f"{at:.3f}") for label, at, style in marks),
    ]
    title = f"Scores: {scores.name}"
    return draw(title, plot, legend=legend, xlabel="cosine", margins=(10, 10, 8, 36))


def thresholds(figures: dict[str, Any]) -> list[tuple[str, float, int]]:
    """Return (label, cosine, line style): best accuracy, and the smallest FAR with a figure."""
    marks = []
    folds = figures.get("fold_thresholds")
    if folds:
        # On the squared distance of unit vectors, d = 2 - 2 cos.
        marks.append(("best accuracy", 1 - float(np.mean(folds)) / 2, SOLID))
    clear = [p for p in figures.get("operating_points") or ()
             if p.get("threshold") is not None and not p.get("note")]  # fmt: skip
    if clear:
        point = min(clear, key=lambda p: p["target"])
        marks.append((f"FAR {power(point['target'])}", float(point["threshold"]), DASHED))
    return marks


def worst_sets(run: Run) -> list[dict[str, Any]]:
    """Return the stored worst pairs as pictures, by set."""
    found = []
    for name in run.sets:
        try:
            pairs = load_worst(run.folder / "evaluation" / f"{name}_worst.npz")
        except FrfwError as error:
            run.damaged.append(str(error))
            continue
        if pairs is None or not len(pairs.scores):
            continue
        pictures = [
            Picture(uri(pairs.left[i]), uri(pairs.right[i]), float(pairs.scores[i]),
                    int(pairs.pairs[i]))
            for i in range(len(pairs.scores))
        ]  # fmt: skip
        found.append({
            "name": name,
            "accepts": [p for p, same in zip(pictures, pairs.same) if not same],
            "rejects": [p for p, same in zip(pictures, pairs.same) if same],
        })  # fmt: skip
    return found


def uri(image: np.ndarray) -> str:
    """Encode an (H, W, 3) uint8 RGB image as a JPEG data URI."""
    _, code = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]),
                           [cv2.IMWRITE_JPEG_QUALITY, 88])  # fmt: skip
    return "data:image/jpeg;base64," + base64.b64encode(code.tobytes()).decode()
