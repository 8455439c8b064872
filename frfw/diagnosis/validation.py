"""Signatures in the verification accuracies: at chance, or falling while training goes on."""

from __future__ import annotations

from frfw.diagnosis.finding import Evidence, Finding

_CHANCE = 0.5


def _sets(run: Evidence) -> list[str]:
    return [n for n in run.curves if n.startswith("val/") and n.endswith("/accuracy")]


def validation_at_chance(run: Evidence) -> Finding | None:
    """Verification at 50 % (of as many same as different pairs)."""
    last = {n.split("/")[1]: float(run.values(n)[-1]) for n in _sets(run)}
    stuck = {name: value for name, value in last.items() if abs(value - _CHANCE) < 0.03}
    if not stuck:
        return None
    named = ", ".join(f"{name} {100 * value:.1f} %" for name, value in stuck.items())
    accuracy = run.late("head/accuracy_no_margin")
    learnt = len(accuracy) > 0 and accuracy.mean() > 0.3
    if not learnt:
        return Finding(
            "validation_at_chance",
            "warning",
            f"{named}; training accuracy is low too",
            "half of the pairs are the same person: the network does not tell people apart yet",
            ["train longer; the training loss's findings come first"],
        )
    advice = [
        "pre-processing of the sets: same alignment, size and channel order as the training "
        "images (python -m frfw.data inspect shows both)",
        "batch norm's statistics: trainer.global_batch_size per process below 16 spoils them; "
        "trainer.sync_batchnorm=true",
        "the pairs: a wrong pairs file or a pack whose flags do not belong to its images",
    ]
    if len(stuck) < len(last):
        advice.insert(0, "only some sets are at chance: look at those sets' files first")
    return Finding(
        "validation_at_chance",
        "problem",
        f"{named}, while {100 * accuracy.mean():.0f} % of the training samples are right",
        "the network has learnt, but what it is evaluated on does not look like what it was "
        "trained on, or evaluation runs another network than training",
        advice,
    )


def validation_falling(run: Evidence) -> Finding | None:
    """Verification has fallen well below its best while training accuracy is high."""
    accuracy = run.late("head/accuracy_no_margin")
    fallen = []
    for name in _sets(run):
        values, steps = run.values(name), run.steps(name)
        best = int(values.argmax())
        if len(values) >= 4 and best < len(values) - 2 and values[best] - values[-1] > 0.02:
            fallen.append(
                f"{name.split('/')[1]} {100 * values[-1]:.1f} % after {100 * values[best]:.1f} % "
                f"at step {int(steps[best])}"
            )
    if not fallen:
        return None
    seen = "; ".join(fallen)
    keep = "checkpoints/best.pt holds the best step"
    if len(accuracy) > 0 and accuracy.mean() > 0.95:
        return Finding(
            "validation_falling",
            "warning",
            f"{seen}; training accuracy {100 * accuracy.mean():.0f} %",
            "the network learns the training identities by heart",
            [keep, "more augmentation, backbone.dropout=0.4, more identities, or fewer epochs"],
        )
    return Finding(
        "validation_falling",
        "warning",
        seen,
        "the later steps made the embeddings worse: a rate too high for this stage of training",
        [keep, "a schedule that falls earlier (schedule=cosine), a lower optimizer.base_lr"],
    )
