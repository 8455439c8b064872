"""Name the known signatures that a run's numbers match."""

from __future__ import annotations

from frfw.diagnosis import ending, head, learning, speed, validation
from frfw.diagnosis.finding import LEVELS, Evidence, Finding

SIGNATURES = (
    ending.diverged,
    learning.not_finite,
    learning.collapsed,
    learning.at_chance,
    learning.clipped,
    head.t_not_moving,
    head.t_low,
    head.feature_norm,
    validation.validation_at_chance,
    validation.validation_falling,
    speed.data_bound,
    speed.slowing,
    ending.unfinished,
    head.margin_gap,
)


def diagnose(evidence: Evidence) -> list[Finding]:
    """Return the findings of all signatures, problems first."""
    found = [finding for signature in SIGNATURES if (finding := signature(evidence)) is not None]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


__all__ = ["Evidence", "Finding", "diagnose"]
