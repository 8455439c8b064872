"""Curves of a formula: T, N, I, M and gradients, by calling it and differentiating it."""

from __future__ import annotations

import torch
from torch import Tensor

from frfw.losses import Formula, Samples, create_formula

# The stages that papers draw: where targets and t are at the start and towards the end.
EARLY = {"cos_target": 0.35, "t": 0.05}
LATE = {"cos_target": 0.85, "t": 0.75}


def samples(cos: Tensor, norm: float = 20.0) -> Samples:
    """Return samples with these target cosines (B,) and one embedding norm."""
    index = torch.arange(len(cos))
    return Samples(cos, torch.full_like(cos, norm), index, index)


def target(formula: Formula, cos: Tensor, norm: float = 20.0) -> Tensor:
    """Return T (B,) at cosines (B,)."""
    return formula.target(samples(cos, norm)).detach()


def threshold(formula: Formula, cos_target: float) -> Tensor:
    """Return (1, 1): the cosine above which a negative of this sample is hard."""
    return formula.threshold(samples(torch.tensor([cos_target], dtype=torch.float64)))[:, None]


def negatives(formula: Formula, cos: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Return N and M = dN/dcos, (C,) each, at the negatives' cosines (C,)."""
    cos = cos.clone().requires_grad_()
    value = formula.negatives(cos[None], above)[0]
    (slope,) = torch.autograd.grad(value.sum(), cos)
    return value.detach(), slope


def weight_of_negative(formula: Formula, cos_target: float, cos: Tensor, others: int) -> Tensor:
    """Return |dL/dcos θ_j| / s, (C,), of one negative as its cosine runs over `cos` (C,).

    The sample has `others` more negatives, all orthogonal to it.
    """
    cos = cos.clone().requires_grad_()
    above = threshold(formula, cos_target)
    t = formula.target(samples(torch.tensor([cos_target], dtype=torch.float64)))
    n = formula.negatives(cos[:, None], above.expand(len(cos), 1))[:, 0]
    rest = formula.negatives(torch.zeros(1, 1, dtype=cos.dtype), above)[0]
    rest = formula.s * rest + torch.log(torch.tensor(float(others), dtype=cos.dtype))
    logits = torch.stack([(formula.s * t).expand(len(cos)), formula.s * n, rest.expand(len(cos))])
    loss = torch.logsumexp(logits, 0) - logits[0]
    (slope,) = torch.autograd.grad(loss.sum(), cos)
    return slope.abs() / formula.s


def drawn_losses(t: float, m: float = 0.5, s: float = 64.0) -> dict[str, Formula]:
    """Return ArcFace, MV-Arc-Softmax and CurricularFace at this t, with one margin, in float64."""
    made = {
        "ArcFace": create_formula("arcface", m=m, s=s),
        "MV-Arc-Softmax": create_formula("mv_arc", m=m, s=s, t=1.2),
        "CurricularFace": create_formula("curricular", m=m, s=s, t=t),
    }
    return {name: formula.double().eval() for name, formula in made.items()}
