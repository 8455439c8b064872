"""Reports: one self-contained HTML page for a run, or for a comparison of runs."""

from __future__ import annotations

from frfw.tracking.report.compare import write_comparison
from frfw.tracking.report.run import write_report

__all__ = ["write_comparison", "write_report"]
