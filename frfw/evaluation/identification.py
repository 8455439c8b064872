"""Who is it: closed-set ranks (CMC) and open-set TPIR at FPIR, as NIST's FRVT 1:N defines them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frfw.errors import FrfwError
from frfw.evaluation.metrics import OperatingPoint, tar_at_far
from frfw.values import rate, whole

FPIR_TARGETS = (1e-1, 1e-2, 1e-3)
_PROBES = 512  # of one block of the score matrix


@dataclass
class IdentificationResult:
    """Figures of a search of probes in a gallery.

    Attributes:
        name: of the set.
        identities: enrolled in the gallery; entries: its templates.
        mated, nonmated: probes whose identity is, or is not, in the gallery.
        cmc: (K,) share of mated probes whose identity is among the first k; empty if none.
        operating_points: for every FPIR target, TPIR (as `tar`), threshold and real FPIR
            (as `far`); with a note where the nonmated probes are too few.
        rank: within which the mate must be for TPIR; None: anywhere.
        details: what the figures were made from.
    """

    name: str
    identities: int
    entries: int
    mated: int
    nonmated: int
    cmc: NDArray[np.float64]
    operating_points: tuple[OperatingPoint, ...]
    rank: int | None
    details: dict[str, Any]

    def rank_rate(self, k: int) -> float | None:
        """Return the rank-k identification rate, k from 1 on; None without mated probes."""
        k = whole(k, "rank", 1)
        return float(self.cmc[min(k, self.cmc.size) - 1]) if self.cmc.size else None

    @property
    def tpir_at_fpir(self) -> dict[float, float | None]:
        """TPIR by FPIR target; None where there are too few nonmated probes."""
        return {point.target: point.tar for point in self.operating_points}

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, fit for JSON; the CMC up to rank 1000."""
        values = {**self.__dict__, "cmc": self.cmc[:1000].tolist()}
        return values | {"operating_points": [vars(p) for p in self.operating_points]}


def identify(
    gallery: ArrayLike,
    gallery_identities: ArrayLike,
    probes: ArrayLike,
    probe_identities: ArrayLike,
    *,
    fpir_targets: Sequence[float] = FPIR_TARGETS,
    rank: int | None = None,
    name: str = "identification",
) -> IdentificationResult:
    """Search every probe in the gallery.

    An identity's score is the best of its entries. A mated probe has rank r when r - 1 other
    identities score as high as its own or higher (ties count against). At threshold T, FPIR is
    the share of nonmated probes with any identity at or above T; TPIR the share of mated probes
    whose own identity is at or above T (and within `rank`). NIST IR 8271, section 3.

    Args:
        gallery: (G, D) embeddings; gallery_identities: (G,) anything that can be compared.
        probes: (Q, D) embeddings; probe_identities: (Q,).

    Raises:
        FrfwError: shapes that do not fit, values that are not numbers, no probe or entry, a FPIR
            that is not above 0 and up to 1, a rank below 1.
    """
    targets = [rate(target, f"{name}: fpir") for target in fpir_targets]
    rank = None if rank is None else whole(rank, f"{name}: rank", 1)
    g, q = _unit(gallery, f"{name}: gallery"), _unit(probes, f"{name}: probe")
    own, asked = np.asarray(gallery_identities), np.asarray(probe_identities)
    if own.shape != g.shape[:1] or asked.shape != q.shape[:1] or g.shape[1:] != q.shape[1:]:
        raise FrfwError(
            f"{name}: gallery {g.shape} of {own.shape} identities, probes {q.shape} of "
            f"{asked.shape}; need (G, D), (G,), (Q, D), (Q,)"
        )
    order = np.argsort(own, kind="stable")
    enrolled, first = np.unique(own[order], return_index=True)
    mate = np.minimum(np.searchsorted(enrolled, asked), enrolled.size - 1)
    mated = enrolled[mate] == asked
    mate_score, best, ranks = _search(g[order], first, q, np.where(mated, mate, -1))
    tail = np.bincount(ranks[mated], minlength=enrolled.size + 1)[1:]
    found = mate_score[mated]
    if rank is not None:
        found = found[ranks[mated] <= rank]
    points = [
        _open_set(np.sort(found), int(mated.sum()), np.sort(best[~mated]), target)
        for target in targets
    ]
    return IdentificationResult(
        name=name,
        identities=int(enrolled.size),
        entries=int(g.shape[0]),
        mated=int(mated.sum()),
        nonmated=int((~mated).sum()),
        cmc=np.cumsum(tail) / mated.sum() if mated.any() else np.zeros(0),
        operating_points=tuple(points),
        rank=rank,
        details={},
    )


def _search(
    gallery: NDArray[np.float32],
    first: NDArray[np.integer],
    probes: NDArray[np.float32],
    mate: NDArray[np.integer],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Return each probe's mate score (or -inf), best score, and rank of the mate (or 0)."""
    score = np.full(len(probes), -np.inf, np.float32)
    best = np.empty(len(probes), np.float32)
    ranks = np.zeros(len(probes), np.int64)
    for start in range(0, len(probes), _PROBES):
        part = slice(start, start + _PROBES)
        by_identity = np.maximum.reduceat(probes[part] @ gallery.T, first, axis=1)
        best[part] = by_identity.max(axis=1)
        rows = np.flatnonzero(mate[part] >= 0)
        own = by_identity[rows, mate[part][rows]]
        score[start + rows] = own
        ranks[start + rows] = (by_identity[rows] >= own[:, None]).sum(axis=1)
    return score, best, ranks


def _open_set(
    found: NDArray[np.float32], mated: int, false: NDArray[np.float32], target: float
) -> OperatingPoint:
    """Return TPIR at FPIR; `found` leaves out mates beyond the rank, which count as misses."""
    if not mated or not false.size:
        kind = "mated" if not mated else "nonmated"
        return OperatingPoint(target, None, None, None, f"no {kind} probes: no open-set figure")
    if not found.size:
        return OperatingPoint(target, 0.0, None, 0.0, "no mate within the rank")
    point = tar_at_far(found, false, target)
    note = point.note.replace("impostors", "nonmated probes").replace("FAR", "FPIR")
    share = None if point.tar is None else point.tar * found.size / mated
    return replace(point, tar=share, note=note.replace("false accept", "false alarm"))


def _unit(embeddings: ArrayLike, what: str) -> NDArray[np.float32]:
    rows = np.asarray(embeddings, np.float32)
    if rows.ndim != 2 or not rows.size:
        raise FrfwError(f"{what} embeddings have shape {rows.shape}; need rows of numbers")
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(norm) & (norm > 0))[:, 0])
    if bad.size:
        raise FrfwError(f"{what} embedding {bad[0]} is zero or not numbers (NaN or infinity)")
    return rows / norm
