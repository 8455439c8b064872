"""A run that torchrun started and that was refused is refused again when torchrun restarts it.

To resume by itself, a run that is started again goes on with whatever its folder holds. Where the
first start was refused because the folder holds another run, that would be the other run.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def remember(run: Path, message: str) -> None:
    """Note, for later starts by the same launcher, that this run was refused."""
    with contextlib.suppress(OSError):
        _file().write_text(f"{run.resolve()}\n{message}")


def earlier(run: Path) -> str | None:
    """What an earlier start by the same launcher was refused with, or None."""
    try:
        refused, _, message = _file().read_text().partition("\n")
    except OSError:
        return None
    return message if refused == str(run.resolve()) else None


def _file() -> Path:
    """A file that belongs to the process that started this one."""
    parent = os.getppid()
    try:  # process numbers come again; with its start time it is the same process
        began = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        began = "0"
    return Path(tempfile.gettempdir()) / f"frfw_refused_{os.getuid()}_{parent}_{began}"
