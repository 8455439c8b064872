"""Figures that come after a run's end, added to its TensorBoard folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from matplotlib.figure import Figure


def add_figures(checkpoint: Path, figures: Iterable[tuple[str, Figure]]) -> None:
    """Add figures to the TensorBoard events of the run that `checkpoint` is of, if it has any."""
    from torch.utils.tensorboard import SummaryWriter

    folder = checkpoint.parent.parent / "tensorboard"
    if folder.is_dir():
        with SummaryWriter(folder) as board:
            for name, figure in figures:
                board.add_figure(name, figure, close=False)
