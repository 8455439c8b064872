"""Results as a table of plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from frfw.evaluation.result import VerificationResult


def results_table(results: Mapping[str, VerificationResult]) -> str:
    """Return one table of all sets in per cent, with groups indented and notes below."""
    targets = sorted(
        {p.target for r in results.values() for p in r.operating_points if p.tar is not None},
        reverse=True,
    )
    head = ["set", "pairs", "accuracy", "std err", "95 % interval", "exact", "AUC", "EER"]
    rows = [[*head, *(f"TAR@{target:g}" for target in targets)]]
    for name, result in results.items():
        rows.append(_row(name, result.to_dict(scores=False), targets))
        for group, figures in result.groups.items():
            if "accuracy" in figures:
                rows.append(_row(f"  {group}", figures, targets))
            else:
                rows.append([f"  {group}", str(figures["pair_count"]), "-"])
    notes = []
    for name, result in results.items():
        few = [f"{p.target:g}" for p in result.operating_points if p.tar is None]
        told = [p.note for p in result.operating_points if p.tar is not None and p.note]
        notes += [f"{name}: {note}" for note in told]
        if few:
            count = int((~result.same).sum())
            notes.append(f"{name}: {count} impostors are too few for FAR {', '.join(few)}")
    for name, result in results.items():
        for key in ("skipped_pairs", "repeated_pairs", "disputed_pairs"):
            if result.details.get(key):
                told = f"{name}: {result.details[key]} {key.replace('_', ' ')}"
                named = result.details.get("repeated") if key == "repeated_pairs" else None
                notes.append(told + (f", e.g. {named[0]}" if named else ""))
    return "\n".join([text_table(rows), *notes])


def _row(name: str, figures: Mapping[str, Any], targets: Sequence[float]) -> list[str]:
    tars = {point["target"]: point["tar"] for point in figures["operating_points"]}
    interval = (figures.get("intervals") or {}).get("accuracy")
    return [
        name,
        f"{figures['pair_count']:,}",
        percent(figures["accuracy"]),
        percent(figures["standard_error"]),
        f"{percent(interval[0])} - {percent(interval[1])}" if interval else "-",
        percent(figures["exact_accuracy"]),
        percent(figures["auc"]),
        percent(figures["eer"]),
        *(percent(tars.get(target)) for target in targets),
    ]


def percent(share: float | None) -> str:
    """Write a share as per cent with two digits; None as a dash."""
    return "-" if share is None else f"{100 * share:.2f}"


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Align columns: the first to the left, the others to the right, a line under the head."""
    count = max(len(row) for row in rows)
    full = [[*row, *[""] * (count - len(row))] for row in rows]
    widths = [max(len(row[c]) for row in full) for c in range(count)]
    lines = [
        "  ".join(cell.ljust(w) if c == 0 else cell.rjust(w)
                  for c, (cell, w) in enumerate(zip(row, widths))).rstrip()
        for row in full
    ]  # fmt: skip
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])
