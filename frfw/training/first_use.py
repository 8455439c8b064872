"""`data=synthetic` needs no download: its faces are drawn when a run first wants them."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from omegaconf import DictConfig

from frfw.training import distributed


def draw_if_missing(cfg: DictConfig, data_choice: str) -> None:
    """Draw the default synthetic set where `data=synthetic` and its folder is not there.

    Under torchrun the first process of a machine draws; the others wait for it when they join.
    """
    if data_choice != "synthetic":
        return
    path = Path(str(cfg.data.path))
    if path.exists():
        return
    if distributed.under_torchrun() and os.environ.get("LOCAL_RANK", "0") != "0":
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.parent / f".{path.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # jobs of a sweep may run side by side
        if not path.exists():
            _draw(path)


def _draw(path: Path) -> None:
    from frfw.data.synthetic import write_dataset
    from frfw.synthesize import Progress

    print(f"{path} is not there: drawing the synthetic faces (once)", flush=True)
    progress = Progress()
    write_dataset(path, report=progress)
    progress.close()
