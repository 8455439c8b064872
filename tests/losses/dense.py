"""A twenty-line dense evaluation of a formula, written apart from the classifier."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from frfw.losses import Formula, Samples


def dense(formula: Formula, x: Tensor, weight: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (logits (B, C), per-sample loss (B,), cos_target (B,)) of one forward pass."""
    norm = x.norm(dim=1)
    if formula.geometry == "linear":
        cos = x @ weight.T
    else:
        cos = F.normalize(x, eps=1e-12) @ F.normalize(weight, eps=1e-12).T
        cos = cos.view(len(x), -1, formula.sub_centers).amax(2)
    own = torch.zeros_like(cos, dtype=torch.bool).scatter_(1, y[:, None], True)
    cos_y = cos.gather(1, y[:, None]).squeeze(1)
    formula.observe(cos_y.detach(), norm.detach())
    samples = Samples(cos_y, norm, y, torch.arange(len(x)))
    threshold = formula.threshold(samples)[:, None]
    if formula.uses_survey:
        samples.survey = formula.survey(cos.detach(), own, threshold, samples)
    logits = torch.where(own, formula.target(samples)[:, None], formula.negatives(cos, threshold))
    scale = formula.scale(samples)
    logits = logits * (scale[:, None] if isinstance(scale, Tensor) else scale)
    loss = F.cross_entropy(logits, y, reduction="none")
    formula.observe_probability((-loss).exp().detach())
    regulariser = formula.regulariser(samples)
    return logits, loss if regulariser is None else loss + regulariser, cos_y
