"""Which sub-centres of a class its samples gather at, and which samples look mislabelled.

With K sub-centres a class, clean samples gather at one, the dominant; noise and hard samples go
to the others. After training, samples far from their dominant centre are candidates to drop
(Deng et al., "Sub-center ArcFace", ECCV 2020, section 3.4: angle above 75 degrees).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass
class SubcenterReport:
    """Of N samples and C classes with K sub-centres.

    Attributes:
        counts: (C, K) int64, samples of the class nearest to each of its sub-centres.
        dominant: (C,) int64, the sub-centre with most samples (the first, where tied).
        spread: (C,) float, the largest angle in degrees between the dominant and another
            sub-centre of the class that attracts samples; 0 where there is none.
        nearest: (N,) int64, each sample's nearest sub-centre of its own class.
        angle: (N,) float, degrees between a sample and its class's dominant centre.
        noisy: (N,) bool, angle above the threshold.
    """

    counts: Tensor
    dominant: Tensor
    spread: Tensor
    nearest: Tensor
    angle: Tensor
    noisy: Tensor

    def write_csv(
        self, path: str | Path, labels: Tensor, names: Sequence[str] | None = None
    ) -> None:
        """Write one row a noisy sample, largest angle first: index, identity, angle, sub-centre."""
        order = self.angle.argsort(descending=True, stable=True)
        with open(path, "w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow(["index", "identity", "angle_degrees", "subcenter", "dominant"])
            for i in order[self.noisy[order]].tolist():
                label = int(labels[i])
                identity = label if names is None else names[label]
                centre, dominant = int(self.nearest[i]), int(self.dominant[label])
                out.writerow([i, identity, f"{float(self.angle[i]):.2f}", centre, dominant])


@torch.no_grad()
def subcenter_report(
    weight: Tensor,
    embeddings: Tensor,
    labels: Tensor,
    sub_centers: int,
    max_angle: float = 75.0,
    block: int = 8192,
) -> SubcenterReport:
    """Compare embeddings with the sub-centres of their own class.

    Args:
        weight: (C * K, D), class-major, as the classifier holds it.
        embeddings: (N, D). labels: (N,) int64 in [0, C).
        sub_centers: K.
        max_angle: degrees from the dominant centre above which a sample is called noisy.
        block: samples compared at a time.

    Raises:
        ValueError: the rows of `weight` are no multiple of K.
    """
    if len(weight) % sub_centers:
        raise ValueError(f"{len(weight)} centres are no multiple of {sub_centers} sub-centres")
    centres = F.normalize(weight, dim=1).unflatten(0, (-1, sub_centers))
    classes = len(centres)
    cos = torch.cat(
        [
            torch.einsum("nd,nkd->nk", F.normalize(x, dim=1).to(centres.dtype), centres[y])
            for x, y in zip(embeddings.split(block), labels.split(block))
        ]
    )
    nearest = cos.argmax(1)
    place = labels * sub_centers + nearest
    counts = torch.bincount(place, minlength=classes * sub_centers).view(classes, sub_centers)
    dominant = counts.argmax(1)
    angle = degrees(cos.gather(1, dominant[labels][:, None])[:, 0])
    main = centres[torch.arange(classes, device=centres.device), dominant]
    apart = degrees(torch.einsum("cd,ckd->ck", main, centres))
    other = F.one_hot(dominant, sub_centers) == 0
    spread = torch.where((counts > 0) & other, apart, 0).amax(1)
    return SubcenterReport(counts, dominant, spread, nearest, angle, angle > max_angle)


def degrees(cos: Tensor) -> Tensor:
    """Return angles in degrees for cosines that rounding may have pushed beyond ±1."""
    return torch.acos(cos.clamp(-1, 1)) * (180 / math.pi)
