"""One look for all figures."""

from __future__ import annotations

from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLORS = {
    "Softmax": "#7f7f7f",
    "SphereFace": "#8c564b",
    "CosFace": "#d62728",
    "ArcFace": "#1f77b4",
    "MV-Arc-Softmax": "#ff7f0e",
    "CurricularFace": "#2ca02c",
    "CurricularFace, early": "#98d594",
    "CurricularFace, late": "#157a1e",
}
_RC = {
    "font.size": 10,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 100,
}


def panels(count: int, width: float = 4.6, height: float = 3.9, **options: Any) -> tuple[Any, Any]:
    """Return (figure, list of axes) with `count` panels side by side."""
    with plt.rc_context(_RC):
        figure, axes = plt.subplots(
            1,
            count,
            figsize=(width * count, height),
            squeeze=False,
            layout="constrained",
            **options,
        )
    return figure, list(axes[0])


def grid(rows: int, columns: int, size: float) -> tuple[Any, Any]:
    """Return (figure, flat list of axes) of square panels."""
    with plt.rc_context(_RC):
        figure, axes = plt.subplots(
            rows, columns, figsize=(size * columns, size * rows), layout="constrained"
        )
    return figure, list(axes.flat)


def close(figure: Any) -> None:
    """Free a figure that has been written."""
    plt.close(figure)
