"""Signatures in the training loss: not finite, at chance, collapsed."""

from __future__ import annotations

import math

import numpy as np

from frfw.diagnosis.finding import Evidence, Finding, flat, near


def not_finite(run: Evidence) -> Finding | None:
    """NaN or infinity at step k, or steps that were skipped because of it."""
    loss, steps = run.values("train/loss"), run.steps("train/loss")
    skipped = run.late("train/skipped_steps", 0.01)
    bad = np.flatnonzero(~np.isfinite(loss))
    if not len(bad) and not (len(skipped) and skipped[-1] > 0):
        return None
    advice = [
        "lower optimizer.base_lr (a third), or lengthen schedule.warmup_epochs",
        "a smaller margin at the start: finetune.warmup=0.1 raises loss.m over the first tenth",
        "read non_finite_step_*.json in the run folder: sample ids and the layers' largest values",
    ]
    if run.key("trainer.precision") == "fp16":
        advice.insert(0, "trainer.precision=bf16: fp16 overflows above 65504")
    if run.key("trainer.clip_norm") is None:
        advice.insert(1, "trainer.clip_norm=5 limits the step that a bad batch can take")
    if not len(bad):
        share = skipped[-1] / max(int(steps[-1]), 1)
        return Finding(
            "skipped_steps",
            "problem" if share > 0.01 else "warning",
            f"{int(skipped[-1])} of {int(steps[-1])} steps had a gradient that is not finite",
            "these steps were left out on all ranks; now and then (a loss scale of fp16 that "
            "was tried too high) that is harmless, more often the run is about to diverge",
            advice,
        )
    first, after = int(steps[bad[0]]), loss[bad[0] :]
    for_good = not np.isfinite(after).any()
    before = _peak_before(run, first)
    return Finding(
        "not_finite",
        "problem",
        f"train/loss is not finite from step {first}"
        + (" to the end" if for_good else f" ({len(bad)} logged steps)")
        + before,
        "the run diverged: a step was too large, or a number left the range of its type",
        advice,
    )


def _peak_before(run: Evidence, step: int) -> str:
    steps, norms = run.steps("train/grad_norm"), run.values("train/grad_norm")
    earlier = norms[(steps < step) & np.isfinite(norms)]
    if len(earlier) < 4 or earlier[-1] < 3 * np.median(earlier):
        return ""
    return (
        f"; the gradient norm rose to {earlier[-1]:.3g} before it (median {np.median(earlier):.3g})"
    )


def at_chance(run: Evidence) -> Finding | None:
    """Loss near ln(classes), or where a network that knows nothing starts, and flat."""
    loss = run.values("train/loss")
    if run.classes is None or run.classes < 2 or not flat(loss):
        return None
    if _accuracy(run) > max(0.05, 4 / run.classes):
        return None
    late, chance = float(run.late("train/loss").mean()), math.log(run.classes)
    margin = _margin_at_start(run)
    low, high = chance + margin, _scattered(run) + margin
    if near(late, chance, 0.07):
        seen = f"loss {late:.2f}, ln({run.classes} classes) = {chance:.2f}, not falling"
    elif 0.93 * low <= late <= 1.07 * high:
        seen = (
            f"loss {late:.2f}, not falling; a network that knows nothing has between "
            f"{low:.1f} and {high:.1f} with this loss and {run.classes} classes"
        )
    else:
        return None
    return Finding(
        "loss_at_chance",
        "problem",
        seen,
        "the head cannot tell identities apart: embeddings are the same for all images, or the "
        "labels have nothing to do with the images, or nothing moves",
        [
            "look at the images and labels: python -m frfw.data inspect PATH",
            "check that the rate is not near zero (train/lr) and that finetune.freeze leaves "
            "something to train",
            "start without a margin (loss=softmax): if that learns, warm the margin up with "
            "finetune.warmup=0.1",
            "raise optimizer.base_lr if train/grad_norm is tiny, lower it if it is at the clip",
        ],
    )


def _margin_at_start(run: Evidence) -> float:
    """What a margin adds to the loss while all cosines are near 0: s m, or s sin m (angles)."""
    s, m = run.number("loss.s"), run.number("loss.m")
    if s is None or m is None:
        return 0.0
    return s * (m if _additive_cosine(run) else math.sin(m))


def _scattered(run: Evidence) -> float:
    """What softmax without margin costs while cosines are random instead of equal.

    Random directions in D dimensions have cosines of deviation 1 / sqrt(D), so logits of deviation
    d = s / sqrt(D): the mean loss is ln(classes) + d^2 / 2, until the largest logit rules the sum.
    """
    s, dim, chance = (
        run.number("loss.s"),
        run.number("backbone.embedding_dim"),
        math.log(run.classes),
    )
    if not s or not dim:
        return chance
    deviation = s / math.sqrt(dim)
    if deviation**2 / 2 < chance:
        return chance + deviation**2 / 2
    return deviation * math.sqrt(2 * chance)


def _additive_cosine(run: Evidence) -> bool:
    return "cos" in str(run.key("loss.name", ""))


def _accuracy(run: Evidence) -> float:
    late = run.late("head/accuracy_no_margin")
    return float(late.mean()) if len(late) else 0.0


def collapsed(run: Evidence) -> Finding | None:
    """Loss near s (1 + m) and flat: some centre attracts all embeddings."""
    s, m = run.number("loss.s"), run.number("loss.m")
    if s is None or m is None or s < 4 or not flat(run.values("train/loss")):
        return None
    late = float(run.late("train/loss").mean())
    level = s * (1 + (m if _additive_cosine(run) else math.sin(m)))
    if not (near(late, level, 0.1) or near(late, s * (1 + m), 0.1)):
        return None
    negative = run.late("head/max_negative_cos")
    beside = f", largest negative cosine {negative.mean():.2f}" if len(negative) else ""
    return Finding(
        "collapsed",
        "problem",
        f"loss {late:.1f}, about s (1 + m) = {s * (1 + m):.1f}, not falling{beside}",
        "all embeddings point at one wrong centre: the network has collapsed, as after a step that "
        "was far too large; it does not come back by itself",
        [
            "lower optimizer.base_lr (a tenth) and start again; a longer schedule.warmup_epochs",
            "trainer.clip_norm=5",
            "a smaller loss.s or loss.m, or finetune.warmup=0.1 to reach them gradually",
            "check the labels: python -m frfw.data inspect PATH",
        ],
    )


def clipped(run: Evidence) -> Finding | None:
    """The gradient norm is above the clipping limit nearly all the time."""
    limit, norms = run.number("trainer.clip_norm"), run.late("train/grad_norm", 0.5)
    if limit is None or len(norms) < 8 or (norms > limit).mean() < 0.9:
        return None
    return Finding(
        "always_clipped",
        "warning",
        f"the gradient norm is {np.median(norms):.3g} (median), above trainer.clip_norm={limit:g} "
        f"in {100 * (norms > limit).mean():.0f} % of the later steps",
        "every step has the same length: the rate no longer follows the gradient, and raising "
        "optimizer.base_lr is what lengthens steps",
        ["raise trainer.clip_norm to about twice the median, or leave it if training goes well"],
    )
