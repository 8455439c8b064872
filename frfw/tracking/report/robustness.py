"""Accuracy under graded degradations, as `evaluation/robustness.json` holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from frfw.tracking.report.charts import Chart, colour, draw, percent_axis
from frfw.tracking.report.verification import percent


def robustness(content: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Turn the robustness file into charts and tables, or None where there is none.

    The file has `rows`, each with `kind` (blur, jpeg ...), `strength`, `accuracy` and, where
    several sets were scored, `set`; and `clean`, the accuracy without degradation.
    """
    rows = [r for r in (content or {}).get("rows") or () if r.get("accuracy") is not None]
    if not rows:
        return None
    names = list(dict.fromkeys(str(r.get("set") or content.get("set") or "pairs") for r in rows))
    charts, tables = [], []
    for name in names:
        own = [r for r in rows if str(r.get("set") or content.get("set") or "pairs") == name]
        clean = _clean(content, name)
        charts += _charts(name, own, clean)
        tables.append(_table(name, own))
    told = "The same pairs, scored again with degraded images."
    if len(names) == 1 and (clean := _clean(content, names[0])) is not None:
        told += f" Without degradation the accuracy is {percent(clean)} %."
    return {"charts": charts, "tables": tables, "told": told}


def _clean(content: Mapping[str, Any] | None, name: str) -> float | None:
    clean = (content or {}).get("clean")
    return clean.get(name) if isinstance(clean, Mapping) else clean


def _by_kind(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    kinds: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(str(row.get("kind", "?")), []).append(row)
    return kinds


def _charts(name: str, rows: list[dict[str, Any]], clean: float | None) -> list[Chart]:
    """Draw up to four kinds a chart, so that lines can be told apart."""
    kinds = list(_by_kind(rows).items())
    charts = []
    floor = min([r["accuracy"] for r in rows] + ([clean] if clean is not None else []))
    for begin in range(0, len(kinds), 4):
        part = kinds[begin : begin + 4]

        def plot(axes: Axes, part: list = part) -> None:
            for index, (_, found) in enumerate(part):
                values = [r["accuracy"] for r in found]
                start = [clean] if clean is not None else []
                steps = range(0 if start else 1, len(values) + 1)
                axes.plot(steps, start + values, color=colour(index), marker="o", ms=4)
            axes.set_ylim(max(0.0, floor - 0.03), 1.005)
            axes.set_xticks(range(max(len(f) for _, f in part) + 1))
            percent_axis(axes)

        legend = [(kind, i, "") for i, (kind, _) in enumerate(part)]
        title = f"Accuracy on {name}: {', '.join(kind for kind, _ in part)}"
        charts.append(draw(title, plot, legend=legend, xlabel="strength, in grades"))
    return charts


def _table(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = _by_kind(rows)
    grades = max(len(found) for found in kinds.values())
    cells = [
        (kind, [(percent(r["accuracy"]), _strength(r)) for r in found]
         + [("", "")] * (grades - len(found)))
        for kind, found in kinds.items()
    ]  # fmt: skip
    return {
        "name": f"{name}, accuracy in per cent",
        "first": "degradation",
        "columns": [f"grade {i + 1}" for i in range(grades)],
        "rows": cells,
        "notes": ["Beneath the accuracy: the strength."],
    }


def _strength(row: Mapping[str, Any]) -> str:
    strength = row.get("strength")
    text = f"{strength:g}" if isinstance(strength, int | float) else str(strength or "")
    return f"{text} {row.get('unit', '')}".strip()
