"""Losses without numbers of their authors' code: against the papers' formulas written out here.

Plain PyTorch over the matrix of cosines, apart from frfw's formula classes: logits, loss and
gradients to 1e-9 in float64, dense and tiled.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import frfw
from frfw.losses.draws import standard_normal

B, C, D = 9, 13, 16


def own(cos, y):
    return cos.gather(1, y[:, None])[:, 0]


def put(negatives, y, target):
    return negatives.scatter(1, y[:, None], target[:, None])


def turned(cos, m):
    """cos(θ + m), by the angle."""
    return torch.cos(torch.acos(cos) + m)


def sv(cos, y, norm, t=1.2, fixed=False):
    """SV-Softmax: h = t cos + t - 1 where a class scores above the own one."""
    hard = cos > own(cos, y)[:, None]
    raised = cos + t - 1 if fixed else t * cos + t - 1
    return 32 * put(torch.where(hard, raised, cos), y, own(cos, y)), None


def mv(cos, y, norm, kind, m=0.35, t=1.2, fixed=False):
    """MV-Softmax: the same, against the own cosine with its margin."""
    target = own(cos, y) - m if kind == "am" else turned(own(cos, y), m)
    raised = cos + t - 1 if fixed else t * cos + t - 1
    return 32 * put(torch.where(cos > target.detach()[:, None], raised, cos), y, target), None


def npc(cos, y, norm):
    """NPCFace: m_i = m0 + m1 mean(hard cos); hard negatives t cos + a; margin where cos_y > 0."""
    cos_y = own(cos, y)
    hard = cos > turned(cos_y.detach(), 0.5)[:, None]
    others = put(hard, y, torch.zeros_like(y, dtype=torch.bool))
    total = (cos.detach() * others).sum(1)
    m = 0.4 + 0.2 * total / others.sum(1).clamp(min=1)
    target = torch.where(cos_y > 0, turned(cos_y, m), cos_y)
    return 64 * put(torch.where(hard, 1.1 * cos + 0.2, cos), y, target), None


def circle(cos, y, norm, m=0.25, gamma=256):
    """Circle: γ α_p (s_p - Δ_p) and γ α_n (s_n - Δ_n), O_p = 1 + m, O_n = -m, α without gradient."""
    weight_n = F.relu(cos.detach() + m)
    weight_p = F.relu(1 + m - own(cos, y).detach())
    return gamma * put(weight_n * (cos - m), y, weight_p * (own(cos, y) - (1 - m))), None


def mag(cos, y, norm):
    """MagFace: m(a) from 0.45 at 10 to 0.8 at 110; λ_g g(a), g(a) = 1/a + a/u_a²."""
    a = norm.clamp(10, 110)
    m = (0.8 - 0.45) / (110 - 10) * (a - 10) + 0.45
    cos_y = own(cos, y)
    target = torch.where(cos_y > 0, turned(cos_y, m), cos_y)
    return 64 * put(cos, y, target), 35 * (1 / a + a / 110**2)


def elastic(cos, y, norm, kind, m, plus=False):
    """ElasticFace: m_i ~ N(m, 0.05²); with +, the least similar sample gets the largest."""
    margins = m + 0.05 * standard_normal(0, torch.tensor(1), torch.arange(len(y))).double()
    cos_y = own(cos, y)
    if plus:
        rank = (cos_y[:, None] < cos_y[None, :]).sum(1)  # how many are closer to their centre
        margins = margins.sort().values[rank]
    target = turned(cos_y, margins) if kind == "arc" else cos_y - margins
    return 64 * put(cos, y, target), None


def arc(cos, y, norm, easy="none", through=False):
    """ArcFace with its easy margins; `through`: the margin applied under no_grad."""
    cos_y = own(cos, y)
    target = turned(cos_y, 0.5)
    if easy != "none":
        target = torch.where(cos_y > (0 if easy == "positive" else 0.5), target, cos_y)
    if through:
        with torch.no_grad():
            shift = target - cos_y
        target = cos_y + shift
    return 64 * put(cos, y, target), None


def combined(cos, y, norm, m1=1.1, m2=0.2, m3=0.15):
    return 64 * put(cos, y, torch.cos(m1 * torch.acos(own(cos, y)) + m2) - m3), None


CASES = [
    ("sv_softmax", {}, sv, {}),
    ("sv_softmax", {"hard": "fixed"}, sv, {"fixed": True}),
    ("mv_am", {}, mv, {"kind": "am"}),
    ("mv_am", {"hard": "fixed", "t": 1.3}, mv, {"kind": "am", "fixed": True, "t": 1.3}),
    ("mv_arc", {}, mv, {"kind": "arc"}),
    ("mv_arc", {"hard": "fixed"}, mv, {"kind": "arc", "fixed": True}),
    ("npcface", {}, npc, {}),
    ("circle", {}, circle, {}),
    ("magface", {}, mag, {}),
    ("elastic_arc", {}, elastic, {"kind": "arc", "m": 0.5}),
    ("elastic_arc", {"plus": True}, elastic, {"kind": "arc", "m": 0.5, "plus": True}),
    ("elastic_cos", {}, elastic, {"kind": "cos", "m": 0.35}),
    ("elastic_cos", {"plus": True}, elastic, {"kind": "cos", "m": 0.35, "plus": True}),
    ("subcenter_arcface", {"sub_centers": 3}, arc, {}),
    ("arcface", {"easy_margin": "positive"}, arc, {"easy": "positive"}),
    ("arcface", {"easy_margin": "margin"}, arc, {"easy": "margin"}),
    ("arcface", {"gradient": "straight_through"}, arc, {"through": True}),
    ("combined", {"m1": 1.1, "m2": 0.2, "m3": 0.15}, combined, {}),
]


@pytest.mark.parametrize("mode", ["dense", "tiled"])
@pytest.mark.parametrize(("name", "params", "written", "options"), CASES)
def test_equals_the_formula_written_out(name, params, written, options, mode):
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    head = frfw.create_classifier(name, D, C, mode, **params).double().train()
    k = head.formula.sub_centers
    weight = draw(C * k, D)
    y = torch.arange(B) % C
    # From far to near their centre, and in length from 4 to 130: every branch of every formula.
    share = torch.linspace(-0.35, 0.95, B, dtype=torch.float64)[:, None]
    direction = share * F.normalize(weight[y * k]) + (1 - share.abs()) * F.normalize(draw(B, D))
    x = F.normalize(direction) * torch.linspace(4, 130, B, dtype=torch.float64)[:, None]
    x.requires_grad_()
    with torch.no_grad():
        head.weight.copy_(weight)
    weight.requires_grad_()

    cos = (F.normalize(x) @ F.normalize(weight).T).view(B, C, k).amax(2)
    assert k > 1 or own(cos, y).min() < -0.2 < 0.8 < own(cos, y).max()
    logits, regulariser = written(cos, y, x.norm(dim=1), **options)
    expected = F.cross_entropy(logits, y, reduction="none")
    p = (-expected).exp().detach()
    if regulariser is not None:
        expected = expected + regulariser
    gradients = torch.autograd.grad(expected.mean(), (x, weight))

    mine = x.detach().clone().requires_grad_()
    out = head(mine, y)
    out.loss.backward()
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(out.loss, expected.mean(), **close)
    torch.testing.assert_close(out.per_sample, expected.detach(), check_dtype=False, **close)
    torch.testing.assert_close(out.p_target, p, check_dtype=False, **close)
    torch.testing.assert_close(mine.grad, gradients[0], **close)
    torch.testing.assert_close(head.weight.grad, gradients[1], **close)
