"""The picture of how the tiled head grows with classes and batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from classifier_cases import DIM, spread


def growth_plot(classes: dict[str, Any], batches: dict[str, Any], path: Path) -> None:
    """Draw seconds and megabytes over classes, and megabytes over the batch, to a PNG."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    counts = [int(c) for c in classes]
    for case, line in (("step", "o-"), ("bare products", "s--")):
        axes[0].loglog(counts, [spread(v[case])[0] for v in classes.values()], line, label=case)
    axes[0].legend(frameon=False)
    axes[0].set(xlabel="classes", ylabel="seconds a step")
    memory = [v["memory"][0] for v in classes.values()]
    extra = [(v["extra"] + v["weight"]) / 1e6 for v in memory]
    axes[1].loglog(counts, extra, "o-", label="weight, gradient, tiles")
    axes[1].loglog(counts, [2 * v["weight"] / 1e6 for v in memory], "k:", label="2 x the weight")
    axes[1].set(xlabel="classes", ylabel="MB")
    axes[1].legend(frameon=False)
    beyond = [(v[0]["extra"] - v[0]["weight"]) / 1e6 for v in batches.values()]
    sizes = [int(b) for b in batches]
    axes[2].loglog(sizes, beyond, "o-", label="measured")
    axes[2].loglog(sizes, [b * DIM * 8 / 1e6 for b in sizes], "k:", label="embeddings, gradients")
    axes[2].loglog(sizes, [b * 100_000 * 4 / 1e6 for b in sizes], "k--", label="one B x C matrix")
    axes[2].set(xlabel="batch (100,000 classes)", ylabel="MB beyond weight and gradient")
    axes[2].set_ylim(top=3e4)  # room for the legend
    axes[2].legend(frameon=False, loc="upper left")
    for axis in axes:
        axis.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
