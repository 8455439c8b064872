"""Signatures in the head's numbers: CurricularFace's t, and the gap that the margin makes."""

from __future__ import annotations

import numpy as np

from frfw.diagnosis.finding import Evidence, Finding


def t_not_moving(run: Evidence) -> Finding | None:
    """t has one value all along although the loss adapts it."""
    t, steps = run.values("head/t"), run.steps("head/t")
    adaptive = run.key("loss.t", "adaptive") == "adaptive"
    if len(t) < 4 or not adaptive or np.ptp(t) > 1e-6:
        return None
    return Finding(
        "t_stuck",
        "problem",
        f"t is {t[-1]:.4f} at all {len(t)} logged steps up to step {int(steps[-1])}",
        "t is the running mean of the target cosines and moves at every training step; here it "
        "is not updated (loss.rate too small, or every step was skipped as not finite)",
        [
            "loss.rate=0.01 is the paper's",
            "see train/skipped_steps: skipped steps do not move t",
        ],
    )


def t_low(run: Evidence) -> Finding | None:
    """t is negative late in training, or follows a target cosine that stays near zero."""
    t, steps = run.values("head/t"), run.steps("head/t")
    if len(t) < 4 or np.ptp(t) <= 1e-6:
        return None
    cosine = run.late("head/cos_target_mean")
    beside = f"; mean target cosine {cosine.mean():.3f}" if len(cosine) else ""
    late = float(run.late("head/t").mean())
    if late < -0.01:
        return Finding(
            "t_negative",
            "problem",
            f"t is {late:.3f} at step {int(steps[-1])}{beside}",
            "embeddings point away from their own centres on average: the margin pushes harder "
            "than the network can follow, or labels and images do not belong together. A "
            "negative t turns hard negatives' weights round",
            [
                "a smaller loss.m, or finetune.warmup=0.1; loss.clamp_t=true keeps t in [0, 1]",
                "lower optimizer.base_lr",
                "check the labels: python -m frfw.data inspect PATH",
            ],
        )
    if late < 0.02 and len(t) >= 20 and int(steps[-1]) >= 1000:
        return Finding(
            "t_near_zero",
            "warning",
            f"t is {late:.3f} after {int(steps[-1])} steps{beside}",
            "with t near 0 hard negatives are damped (2 cos + t < 1), as at the very start: the "
            "target cosines have not grown",
            [
                "see whether head/accuracy_no_margin rises: if it does, wait",
                "if not: a smaller loss.m, a longer schedule.warmup_epochs",
            ],
        )
    return None


def margin_gap(run: Evidence) -> Finding | None:
    """Accuracy without the margin rises while accuracy with it is zero: that is normal."""
    plain, margin = run.values("head/accuracy_no_margin"), run.late("head/accuracy_margin")
    if len(plain) < 4 or not len(margin):
        return None
    late = float(run.late("head/accuracy_no_margin").mean())
    rising = late > float(plain[: max(2, len(plain) // 4)].mean()) + 0.02 or late > 0.3
    if not rising or margin.mean() > 0.02 or late < 0.05:
        return None
    return Finding(
        "margin_gap",
        "normal",
        f"accuracy {100 * late:.1f} % without the margin, {100 * margin.mean():.1f} % with it",
        "normal: with the margin a sample counts as right only when it beats every other class by "
        "the whole margin, which starts to happen late in training. Public trainers print "
        "the margin's accuracy, which looks like failure",
        ["nothing: watch head/accuracy_no_margin and the verification accuracies"],
    )


def feature_norm(run: Evidence) -> Finding | None:
    """Embedding lengths run away or vanish."""
    norms = run.values("head/feature_norm")
    norms = norms[np.isfinite(norms)]
    if len(norms) < 3:
        return None
    first, late = float(np.median(norms[: max(1, len(norms) // 4)])), float(norms[-1])
    if first > 0 and 1e-2 * first <= late <= 30 * first:
        return None
    return Finding(
        "feature_norm",
        "warning",
        f"the mean embedding length went from {first:.3g} to {late:.3g}",
        "within a few steps: a step was far too large and the network is about to diverge. Slowly: "
        "weight decay and gradient do not balance; cosine losses do not see the length, but half "
        "precision and losses that read it (AdaFace, MagFace) suffer",
        ["lower optimizer.base_lr", "optimizer.weight_decay=5e-4 (the usual value)"],
    )
