"""Signatures in the throughput: waiting for data, slowing down."""

from __future__ import annotations

import numpy as np

from frfw.diagnosis.finding import Evidence, Finding


def data_bound(run: Evidence) -> Finding | None:
    """The device waits for images for a good part of the time."""
    waits = run.late("train/data_wait", 0.5)
    if len(waits) < 3 or np.median(waits) < 0.2:
        return None
    wait = float(np.median(waits))
    return Finding(
        "data_bound",
        "problem" if wait > 0.5 else "warning",
        f"{100 * wait:.0f} % of the time is spent waiting for images",
        f"the loader is slower than the network: with enough loading the run would be about "
        f"{1 / (1 - min(wait, 0.95)):.1f} times as fast",
        [
            "data.workers: up to the CPU cores that each process has",
            "the packed format (python -m frfw.data pack) instead of small files; a local disk",
            "images stored at the training size, and less costly augmentation",
        ],
    )


def slowing(run: Evidence) -> Finding | None:
    """Throughput late in the run is far below what it was."""
    rates = run.values("train/images_per_s")
    rates = rates[np.isfinite(rates)][1:]  # the first includes the start
    if len(rates) < 12:
        return None
    early, late = np.median(rates[: len(rates) // 3]), np.median(rates[-(len(rates) // 4) :])
    if early <= 0 or late > 0.6 * early:
        return None
    return Finding(
        "slowing_down",
        "warning",
        f"{late:.0f} images/s late in the run, {early:.0f} early",
        "something takes more and more time: another job on the machine, a hot device that lowers "
        "its clock, memory that swaps, or storage that slows",
        ["compare train/data_wait early and late: it tells the loader from the device"],
    )
