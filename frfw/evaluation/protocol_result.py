"""Figures of a set that is no pair list: identification, or IJB-B / IJB-C."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frfw.evaluation.identification import IdentificationResult
from frfw.evaluation.stream import StreamResult
from frfw.evaluation.table import percent, text_table


@dataclass
class ProtocolResult:
    """Figures of one such set.

    Attributes:
        name: of the set; kind: "identification" or "templates".
        verification: 1:1 figures of templates, or None.
        identification: by gallery.
        ranks: to show.
        notes: what a reader must know of the lists.
    """

    name: str
    kind: str
    verification: StreamResult | None = None
    identification: dict[str, IdentificationResult] = field(default_factory=dict)
    ranks: tuple[int, ...] = (1, 5, 10)
    notes: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Return the figures that a table or a curve shows, by name.

        1:1: `auc`, `eer`, `tar_at_far_<FAR>`; 1:N: `rank_<k>`, `tpir_at_fpir_<FPIR>`, with the
        gallery's name before them (`G1_rank_1`) where there are several. What too few impostors
        or probes leave unknown is left out.
        """
        known: dict[str, float | None] = {}
        if self.verification:
            one = self.verification
            known |= {"auc": one.auc, "eer": one.eer}
            known |= {f"tar_at_far_{p.target:g}": p.tar for p in one.operating_points}
        for gallery, found in self.identification.items():
            prefix = f"{gallery}_" if len(self.identification) > 1 else ""
            known |= {f"{prefix}rank_{k}": found.rank_rate(k) for k in self.ranks}
            for point in found.operating_points:
                known[f"{prefix}tpir_at_fpir_{point.target:g}"] = point.tar
        return {name: float(value) for name, value in known.items() if value is not None}

    def save(self, folder: str | Path) -> Path:
        """Write `<name>.json`; return its path."""
        path = Path(folder) / f"{self.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_dict(), indent=1) + "\n")
        return path

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, fit for JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "ranks": list(self.ranks),
            "notes": self.notes,
            "figures": self.figures(),
            "verification": self.verification.to_dict() if self.verification else None,
            "identification": {k: r.to_dict() for k, r in self.identification.items()},
        }


def protocol_table(result: ProtocolResult) -> str:
    """Return the figures as text: 1:1 TAR at FAR, then a row a gallery."""
    parts, notes = [], [f"{result.name}: {note}" for note in result.notes]
    if result.verification:
        one = result.verification
        known = [p for p in one.operating_points if p.tar is not None]
        head = [result.name, "same", "different", "AUC", "EER"]
        row = ["1:1", f"{one.genuine_count:,}", f"{one.impostor_count:,}"]
        row += [percent(one.auc), percent(one.eer), *(percent(p.tar) for p in known)]
        parts.append(text_table([[*head, *(f"TAR@{p.target:g}" for p in known)], row]))
        notes += [p.note for p in one.operating_points if p.note]
    if result.identification:
        points = next(iter(result.identification.values())).operating_points
        head = [f"{result.name} 1:N", "identities", "mated", "nonmated"]
        head += [f"rank-{k}" for k in result.ranks] + [f"TPIR@{p.target:g}" for p in points]
        rows = [head]
        for gallery, found in result.identification.items():
            row = [gallery, *(f"{n:,}" for n in (found.identities, found.mated, found.nonmated))]
            row += [percent(found.rank_rate(k)) for k in result.ranks]
            rows.append([*row, *(percent(p.tar) for p in found.operating_points)])
            notes += [f"{gallery}: {p.note}" for p in found.operating_points if p.note]
        parts.append(text_table(rows))
    return "\n\n".join(parts) + "".join(f"\n{note}" for note in dict.fromkeys(notes))
