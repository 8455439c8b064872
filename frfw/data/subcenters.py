"""What the sub-centres of a trained head say about the labels of its training set."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from frfw.data.dataset import Dataset
from frfw.errors import FrfwError

if TYPE_CHECKING:
    from frfw.losses import SubcenterReport


def judge(
    checkpoint: Path, dataset: Dataset, embeddings: np.ndarray, max_angle: float = 75.0
) -> SubcenterReport:
    """Compare every image with the sub-centres of its identity (`frfw.losses.subcenter_report`).

    Args:
        checkpoint: of a run with `loss=subcenter_arcface` on this very data set.
        embeddings: (N, dim) unit rows by that network; zero rows (bad images) are left alone.
        max_angle: degrees to the dominant centre above which an image is called noisy.

    Raises:
        FrfwError: the run has no sub-centres, or was trained on another data set.
    """
    from frfw.losses import subcenter_report
    from frfw.training.checkpoint import load

    content = load(checkpoint)
    centers = int((content["config"].get("loss") or {}).get("sub_centers", 1))
    if centers < 2:
        raise FrfwError(
            f"{checkpoint} has one centre an identity: --subcenters takes a run with "
            "loss=subcenter_arcface"
        )
    if content["data"]["fingerprint"] != dataset.fingerprint:
        raise FrfwError(
            f"{checkpoint} was trained on another data set (fingerprint "
            f"{content['data']['fingerprint']}, here {dataset.fingerprint}): --subcenters judges "
            "the training set by its own centres"
        )
    report = subcenter_report(
        content["head"]["weight"].float(),
        torch.from_numpy(embeddings),
        torch.from_numpy(np.ascontiguousarray(dataset.labels)),
        centers,
        max_angle,
    )
    report.noisy &= torch.from_numpy(np.abs(embeddings).sum(1) > 0)
    return report


def write_identities(report: SubcenterReport, dataset: Dataset, path: Path) -> None:
    """Write a row an identity, widest spread first: images at each sub-centre, spread, noisy."""
    labels = torch.from_numpy(np.ascontiguousarray(dataset.labels))
    noisy = torch.bincount(labels[report.noisy], minlength=len(report.counts))
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        out = csv.writer(file)
        at = [f"at_{k}" for k in range(report.counts.shape[1])]
        out.writerow(["identity", "images", "dominant", *at, "spread_degrees", "noisy"])
        for c in report.spread.argsort(descending=True, stable=True).tolist():
            counts = report.counts[c].tolist()
            row = [dataset.identity_names[c], sum(counts), int(report.dominant[c]), *counts]
            out.writerow([*row, f"{float(report.spread[c]):.2f}", int(noisy[c])])
