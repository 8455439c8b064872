"""What a run leaves behind: numbers, TensorBoard events, a log, and a report to look at."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Tracker": "frfw.tracking.tracker",
    "Progress": "frfw.tracking.progress",
    "head_statistics": "frfw.tracking.statistics",
    "write_environment": "frfw.tracking.environment",
    "load_run": "frfw.tracking.runs",
    "store_worst": "frfw.tracking.worst",
    "write_report": "frfw.tracking.report",
    "write_comparison": "frfw.tracking.report",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    # Imported on first use: a report needs no TensorBoard, and a tracker needs no matplotlib.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'frfw.tracking' has no attribute '{name}'")
