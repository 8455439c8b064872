"""Figures that come after a run's end, added to its TensorBoard folder."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure


def add_figure(checkpoint: Path, name: str, figure: Figure) -> None:
    """Add a figure to the TensorBoard events of the run that `checkpoint` is of, if it has any."""
    from torch.utils.tensorboard import SummaryWriter

    folder = checkpoint.parent.parent / "tensorboard"
    if folder.is_dir():
        with SummaryWriter(folder) as board:
            board.add_figure(name, figure, close=False)
