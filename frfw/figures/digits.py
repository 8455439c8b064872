"""Two-dimensional embeddings of scikit-learn's digits, and CurricularFace's M as it trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from frfw.classifier import create_classifier
from frfw.figures.style import COLORS, grid, panels
from frfw.losses import create_embedding_loss, create_formula

CLASSES, STEPS, BATCH = 10, 400, 128
Observer = Callable[[int, Any, Any], None]


def load_digits() -> tuple[Tensor, Tensor]:
    """Return (1797, 64) float pixels in [-1, 1] and (1797,) labels."""
    from sklearn.datasets import load_digits as read

    data = read()
    return torch.tensor(data.data, dtype=torch.float32) / 8 - 1, torch.tensor(data.target)


def train(
    loss: str | None,
    extra: str | None,
    seed: int,
    dim: int = 2,
    weight: float = 1.0,
    observe: Observer | None = None,
    **params: Any,
) -> tuple[Tensor, Tensor]:
    """Train a small network on the digits; return its embeddings (N, dim) and the labels.

    Args:
        loss: name of a softmax loss with `params`, or None.
        extra: name of an embedding loss added with `weight` (with `params` if there is no loss).
        observe: called as observe(step, classifier, its output) every step.
    """
    torch.manual_seed(seed)
    pixels, labels = load_digits()
    network = nn.Sequential(
        nn.Linear(64, 128), nn.PReLU(), nn.Linear(128, 128), nn.PReLU(), nn.Linear(128, dim)
    )
    head = create_classifier(loss, dim, CLASSES, seed=seed, **params) if loss else None
    own = {} if loss else params
    added = create_embedding_loss(extra, dim, CLASSES, **own) if extra else None
    modules = nn.ModuleList([m for m in (network, head) if m is not None])
    optimizer = torch.optim.Adam(modules.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=STEPS)
    if head is not None:
        head.statistics = observe is not None
    for step in range(STEPS):
        index = torch.randint(0, len(labels), (BATCH,))
        embeddings = network(pixels[index])
        total = embeddings.new_zeros(())
        if head is not None:
            output = head(embeddings, labels[index])
            total = total + output.loss
            if observe is not None:
                observe(step, head, output)
        if added is not None:
            total = total + weight * added(embeddings, labels[index])
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return network(pixels), labels


def draw_digits(seed: int) -> Any:
    """Embeddings trained with softmax, centre loss at several λ, ArcFace, contrastive, triplet."""
    runs = {
        "softmax with bias": {"loss": "linear_softmax", "extra": None},
        "+ centre loss, λ = 0.01": {"loss": "linear_softmax", "extra": "center", "weight": 0.01},
        "+ centre loss, λ = 0.1": {"loss": "linear_softmax", "extra": "center", "weight": 0.1},
        "+ centre loss, λ = 1": {"loss": "linear_softmax", "extra": "center", "weight": 1.0},
        "NormFace, s = 8": {"loss": "softmax", "extra": None, "s": 8.0},
        "ArcFace, s = 16, m = 0.3": {"loss": "arcface", "extra": None, "s": 16.0, "m": 0.3},
        "contrastive, margin 1": {"loss": None, "extra": "contrastive", "normalize": False},
        "triplet, margin 1": {
            "loss": None,
            "extra": "triplet",
            "normalize": False,
            "margin": 1.0,
            "mining": "all",
            "nonzero": True,
        },
    }
    figure, axes = grid(2, 4, 3.0)
    for axis, (title, options) in zip(axes, runs.items()):
        points, labels = train(seed=seed, **options)
        axis.scatter(points[:, 0], points[:, 1], c=labels, cmap="tab10", s=3, linewidths=0)
        axis.set_title(title, fontsize=10)
        axis.set_aspect("equal", adjustable="datalim")
        axis.tick_params(labelsize=7)
    colors = axes[0].collections[0]
    figure.colorbar(colors, ax=axes, ticks=range(10), label="digit", shrink=0.6, pad=0.01)
    return figure


def draw_progress(seed: int) -> Any:
    """M = dN/dcos of hard negatives: against t from the formula, and while training on digits."""
    figure, (left, right) = panels(2, width=5)
    _modulation_by_t(left)
    seen: list[tuple[float, ...]] = []

    def observe(step: int, head: Any, output: Any) -> None:
        m = output.modulation
        row = (head.formula.t, m["mean"], m["min"], m["max"], output.hard_share.mean())
        seen.append((step, *(float(value) for value in row)))

    train("curricular", None, seed, dim=8, observe=observe, s=16.0, m=0.5)
    step, t, mean, low, high, hard = torch.tensor(seen).T
    for curve in (mean, low, high):
        curve[hard == 0] = torch.nan  # M speaks of hard negatives; these batches had none
    color = COLORS["CurricularFace"]
    right.fill_between(
        step, low, high, color=color, alpha=0.2, lw=0, label="M, smallest to largest"
    )
    right.plot(step, mean, color=color, label="M, mean over hard negatives")
    right.plot(step, t, color="k", label="t")
    right.plot(step, hard, ":", color="k", label="share of hard negatives")
    right.axhline(1, color=COLORS["ArcFace"], lw=1, label="ArcFace: M = 1")
    right.set(xlabel="training step", title="While training on the digits", ylim=(-1.6, 3.6))
    right.legend(fontsize=8, loc="upper right", ncols=2)
    return figure


def _modulation_by_t(axis: Any) -> None:
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    for cos, style in ((0.1, ":"), (0.3, "--"), (0.5, "-.")):
        slopes = []
        for value in t.tolist():
            formula = create_formula("curricular", t=value).double()
            n = torch.tensor([[cos]], dtype=torch.float64, requires_grad=True)
            above = torch.full((1, 1), -2.0, dtype=torch.float64)
            slopes.append(torch.autograd.grad(formula.negatives(n, above).sum(), n)[0].item())
        axis.plot(t, slopes, style, color=COLORS["CurricularFace"], label=f"cos θ_j = {cos}")
    axis.axhline(1, color=COLORS["ArcFace"], label="ArcFace")
    axis.set(xlabel="t", ylabel="M = dN / d cos θ_j", title="M of a hard negative")
    axis.legend(fontsize=8.5)
