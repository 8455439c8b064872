"""Identification and template sets: tables, CMC and ROC, as `evaluation/<set>.json` holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from frfw.tracking.headline import in_words
from frfw.tracking.report.charts import (
    Chart,
    colour,
    draw,
    percent_axis,
    power,
    power_axis,
    spread,
)
from frfw.tracking.report.verification import percent
from frfw.tracking.runs import Run

Content = Mapping[str, Any]


def protocols(run: Run) -> list[dict[str, Any]]:
    """Return tables and charts of every set that is no pair list."""
    found = []
    for name, content in run.protocols.items():
        tables = [t for t in (_one_to_one(content), _one_to_many(content)) if t]
        if tables:
            tables[-1]["notes"] += content.get("notes") or []
        charts = [c for c in (_roc(name, content), _cmc(name, content)) if c]
        found.append({"name": name, "tables": tables, "charts": spread(charts)})
    return found


def protocol_tiles(run: Run) -> list[dict[str, str]]:
    """Describe the headline figure of every set that is no pair list."""
    tiles = []
    for name in run.protocol_sets:
        score, figure = run.score(name), run.headlines[name]
        searches = (run.protocols.get(name, {}).get("identification") or {}).values()
        one = run.protocols.get(name, {}).get("verification") or {}
        size = ""
        if one:
            size = f"{one['genuine_count'] + one['impostor_count']:,} pairs"
        elif searches:
            first = next(iter(searches))
            size = f"{first['mated']:,} probes, {first['identities']:,} people"
        tiles.append({"name": name, "figure": percent(score), "told": in_words(figure), "bar": None,
                      "pairs": size})  # fmt: skip
    return tiles


def _one_to_one(content: Content) -> dict[str, Any] | None:
    one = content.get("verification")
    if not one:
        return None
    known = [p for p in one["operating_points"] if p["tar"] is not None]
    columns = ["same", "different", "AUC", "EER", *(f"TAR at {power(p['target'])}" for p in known)]
    cells = [(f"{one['genuine_count']:,}", ""), (f"{one['impostor_count']:,}", "")]
    cells += [(percent(one["auc"]), ""), (percent(one["eer"]), "")]
    cells += [(percent(p["tar"]), "") for p in known]
    notes = _too_few(one["operating_points"], "impostors", "FAR")
    return {"first": "1:1, in per cent", "columns": columns, "rows": [("templates", cells)],
            "notes": notes}  # fmt: skip


def _one_to_many(content: Content) -> dict[str, Any] | None:
    searches = content.get("identification") or {}
    if not searches:
        return None
    ranks = content.get("ranks") or (1, 5, 10)
    points = next(iter(searches.values()))["operating_points"]
    columns = ["people", "mated", "nonmated", *(f"rank {k}" for k in ranks)]
    columns += [f"TPIR at {power(p['target'])}" for p in points]
    rows, notes = [], []
    for gallery, found in searches.items():
        cells = [(f"{found[k]:,}", "") for k in ("identities", "mated", "nonmated")]
        cmc = found["cmc"]
        cells += [(percent(cmc[min(k, len(cmc)) - 1] if cmc else None), "") for k in ranks]
        cells += [(percent(p["tar"]), "") for p in found["operating_points"]]
        rows.append((gallery, cells))
        few = _too_few(found["operating_points"], "nonmated probes", "FPIR")
        notes += [f"{gallery}: {note}" for note in few]
    return {"first": "1:N, in per cent", "columns": columns, "rows": rows, "notes": notes}


def _too_few(points: list[dict[str, Any]], what: str, rate: str) -> list[str]:
    """Say which error rates the pairs or probes are too few for."""
    coarse = [power(p["target"]) for p in points if p["tar"] is not None and p["note"]]
    empty = [p["target"] for p in points if p["tar"] is None]
    notes = [f"{rate} {', '.join(coarse)} means none at all here."] if coarse else []
    below = " and below" if len(empty) > 1 else ""
    return [*notes, *([f"Too few {what} for {rate} {power(max(empty))}{below}."] if empty else [])]


def _roc(name: str, content: Content) -> Chart | None:
    curve = (content.get("verification") or {}).get("curve")
    if not curve:
        return None
    far, tar = (np.asarray(curve[key], dtype=np.float64) for key in ("far", "tar"))
    shown = far > 0
    if not shown.any():
        return None

    def plot(axes: Axes) -> None:
        axes.plot(far[shown], tar[shown], color=colour(0), drawstyle="steps-post")
        axes.set_xscale("log")
        axes.set_ylim(max(0.0, float(tar[shown].min()) - 0.05), 1.005)
        power_axis(axes)
        percent_axis(axes)

    note = "Share of same pairs of templates that are accepted."
    return draw(f"ROC: {name}", plot, xlabel="false accept rate", note=note)


def _cmc(name: str, content: Content) -> Chart | None:
    searches = {k: f["cmc"] for k, f in (content.get("identification") or {}).items()}
    searches = {k: cmc for k, cmc in searches.items() if len(cmc) > 1}
    if not searches:
        return None
    longest = min(50, max(map(len, searches.values())))

    def plot(axes: Axes) -> None:
        for index, cmc in enumerate(searches.values()):
            own = cmc[:longest]
            axes.plot(range(1, len(own) + 1), own, color=colour(index), marker="o", ms=3)
        axes.set_xlim(0.5, longest + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True)
        percent_axis(axes)

    legend = [(k, i, "") for i, k in enumerate(searches)] if len(searches) > 1 else []
    note = "Share of mated probes whose own identity is among the first so many."
    return draw(f"CMC: {name}", plot, legend=legend, xlabel="rank", note=note)
