"""The weight of easy and hard samples, and the kinds of triplets."""

from __future__ import annotations

from typing import Any

import torch

from frfw.figures.evaluate import EARLY, LATE, drawn_losses, threshold, weight_of_negative
from frfw.figures.style import COLORS, panels
from frfw.losses import mine
from frfw.losses.distances import euclidean

DASH = {"ArcFace": "-", "MV-Arc-Softmax": "--", "CurricularFace": "-"}

NAMES = {"hard": "hard", "semihard": "semi-hard", "easy": "easy"}


def draw_weights(seed: int) -> Any:
    """The gradient that a negative receives, as it gets harder, early and late in training."""
    figure, axes = panels(2, width=5, sharey=True)
    cos = torch.linspace(-0.4, 1, 1401, dtype=torch.float64)
    for axis, (title, stage) in zip(axes, (("Early", EARLY), ("Late", LATE))):
        for name, formula in drawn_losses(stage["t"]).items():
            weight = weight_of_negative(formula, stage["cos_target"], cos, others=1000)
            axis.plot(cos, weight, DASH[name], color=COLORS[name], label=name)
        edge = threshold(formula, stage["cos_target"]).item()
        axis.axvline(edge, color="k", lw=0.8, alpha=0.5)
        axis.annotate("← easy ", (edge, 2.55), ha="right", fontsize=9)
        axis.annotate(" hard →", (edge, 2.55), fontsize=9)
        axis.set(xlabel="cos θ_j of the negative", xlim=(-0.4, 1), ylim=(-0.05, 2.8))
        axis.set_title(f"{title}: cos θ_y = {stage['cos_target']}, t = {stage['t']}")
    axes[0].set_ylabel("weight of the negative, |dL / d cos θ_j| / s")
    axes[0].legend(fontsize=8.5, loc="upper left", bbox_to_anchor=(0, 0.9))
    return figure


def draw_triplets(seed: int) -> Any:
    """Which negatives around an anchor and its positive are easy, semi-hard and hard."""
    margin, positive = 0.35, torch.tensor([0.5, 0.0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    cloud = 2.4 * torch.rand(260, 2, generator=generator, dtype=torch.float64) - 1.2
    points = torch.cat([torch.zeros(1, 2, dtype=torch.float64), positive[None], cloud])
    labels = torch.ones(len(points), dtype=torch.int64)
    labels[:2] = 0
    distances = euclidean(points, points)
    figure, (axis,) = panels(1, width=8, height=4.8)
    kinds = {"hard": "#d62728", "semihard": "#ff7f0e", "easy": "#2ca02c"}
    for kind, color in kinds.items():
        triplets = mine(distances, labels, kind, margin)
        of_anchor = triplets[2][(triplets[0] == 0) & (triplets[1] == 1)]
        at = points[of_anchor]
        axis.scatter(at[:, 0], at[:, 1], s=16, color=color, label=f"{NAMES[kind]} negative")
    _circles(axis, positive.norm().item(), margin)
    axis.scatter(*positive, marker="^", s=90, color="#1f77b4", zorder=3, label="positive")
    axis.scatter(0, 0, marker="*", s=170, color="k", zorder=3, label="anchor")
    axis.set(aspect="equal", xlim=(-1.25, 1.25), ylim=(-1.25, 1.25))
    axis.set_title("Kinds of triplets, margin 0.35")
    axis.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    return figure


def _circles(axis: Any, radius: float, margin: float) -> None:
    angle = torch.linspace(0, 2 * torch.pi, 181)
    for r, style, label in (
        (radius, "-", "d(a, n) = d(a, p)"),
        (radius + margin, "--", "d(a, n) = d(a, p) + margin"),
    ):
        axis.plot(r * torch.cos(angle), r * torch.sin(angle), style, color="k", lw=1, label=label)
