"""Signatures in how a run ended: diverged, or not at its end."""

from __future__ import annotations

from frfw.diagnosis.finding import Evidence, Finding


def diverged(run: Evidence) -> Finding | None:
    """The trainer gave up."""
    if run.result.get("status") != "diverged":
        return None
    return Finding(
        "gave_up",
        "problem",
        str(run.result.get("error", "the run stopped as diverged")),
        "too many steps in a row were not finite, so the trainer stopped",
        [
            "lower optimizer.base_lr and start again, or init_from= the last good checkpoint",
            "trainer.rollback_factor=0.5 goes back to the last checkpoint by itself, at half rate",
        ],
    )


def unfinished(run: Evidence) -> Finding | None:
    """The log ends before the planned end, and the run has not written how it ended."""
    last = int(run.steps("train/loss")[-1])
    if run.result or run.planned is None or last >= run.planned:
        return None
    return Finding(
        "unfinished",
        "warning",
        f"the last logged step is {last} of {run.planned}",
        "the run still goes on, or it was killed, or it ended with an error (printed where it was "
        "started)",
        ["resume=auto with the same name= goes on from its newest checkpoint"],
    )
