"""What the papers say of T, N, I = N / cos and M = dN/dcos, for any cosines."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import frfw
from frfw.losses import Samples, create_formula, create_weighting, formula_names

MARGIN = [
    ("cosface", {}),
    ("arcface", {}),
    ("combined", {}),
    ("combined", {"m1": 1.35, "m2": 0.4, "m3": 0.1}),
    ("subcenter_arcface", {}),
    ("sphereface", {}),
    ("sphereface", {"annealing": False}),
    ("sphereface", {"m": 1.7}),
    ("mv_am", {}),
    ("mv_arc", {"beyond_pi": "linear"}),
    ("curricular", {}),
    ("npcface", {"beyond_pi": "linear", "easy_margin": "none"}),
    ("magface", {"easy_margin": "none"}),
    ("adaface", {}),
    ("elastic_arc", {"beyond_pi": "linear"}),
    ("elastic_cos", {}),
]
cosine = st.floats(-1, 1)
many = settings(max_examples=40, deadline=None)


def samples(cos, norm=20.0):
    index = torch.arange(len(cos))
    survey = {"hard_cos": 0.5 * torch.ones_like(cos), "hard_count": torch.ones_like(cos)}
    return Samples(cos, torch.full_like(cos, norm), index, index, survey)


def target(formula, cos, norm=20.0):
    return formula.target(samples(torch.as_tensor(cos, dtype=torch.float64), norm))


@pytest.mark.parametrize(("name", "params"), MARGIN)
@many
@given(cos=st.lists(cosine, min_size=1, max_size=8), norm=st.floats(1e-6, 1e4))
def test_target_is_never_above_its_cosine(name, params, cos, norm):
    formula = create_formula(name, **params).double()
    cos = torch.tensor(cos, dtype=torch.float64)
    slack = 1e-3 if name == "adaface" else 1e-12  # AdaFace clips cosines to ±0.999
    assert (target(formula, cos, norm) <= cos + slack).all()


@pytest.mark.parametrize(("name", "params"), MARGIN)
def test_target_rises_with_its_cosine(name, params):
    """What that makes of the loss is in test_loss_falls.py."""
    if name == "sphereface" and not params:
        params = {"lambda_base": 0.0, "lambda_min": 0.0}
    formula = create_formula(name, **params).double().eval()
    for norm in (1.0, 20.0, 90.0):
        values = target(formula, torch.linspace(-1, 1, 2001, dtype=torch.float64), norm)
        assert (values.diff() >= 0).all()
        if name != "adaface":  # which clips the angle at both ends, as its authors' code does
            assert (values.diff() > 0).all()


@many
@given(cos=cosine, negative=cosine, t=st.floats(0, 1))
def test_curricular_modulation(cos, negative, t):
    formula = create_formula("curricular", t=t).double()
    threshold = formula.threshold(samples(torch.tensor([cos], dtype=torch.float64)))[:, None]
    assert threshold.item() == pytest.approx(math.cos(math.acos(cos) + 0.5), abs=1e-12)
    n = torch.tensor([[negative]], dtype=torch.float64, requires_grad=True)
    value = formula.negatives(n, threshold)
    (slope,) = torch.autograd.grad(value.sum(), n)
    if negative > threshold.item():
        assert value.item() == pytest.approx(negative * (t + negative))  # I = t + cos
        assert slope.item() == pytest.approx(2 * negative + t)  # M = 2 cos + t
    else:
        assert value.item() == negative
        assert slope.item() == 1


@many
@given(cos=cosine, norm=st.sampled_from([0.5, 20.0, 90.0]))
def test_adaface_at_both_ends_of_the_quality(cos, norm):
    """ẑ = -1, 0, 1: margins of the angle m, 0, -m and of the cosine 0, m, 2m (eq. of section 3)."""
    formula = create_formula("adaface").double()
    formula.batch_std.fill_(1e-3)
    z = {0.5: -1, 20.0: 0, 90.0: 1}[norm]
    value = target(formula, [cos], norm).item()
    inside = math.acos(min(max(cos, -0.999), 0.999))
    angle = min(max(inside - 0.4 * z, 1e-3), math.pi - 1e-3)
    assert value == pytest.approx(math.cos(angle) - 0.4 - 0.4 * z, abs=1e-9)
    assert value <= cos + 1e-3


@many
@given(cos=cosine, negative=cosine, factor=st.floats(1, 2))
@pytest.mark.parametrize("name", ["sv_softmax", "mv_am", "mv_arc"])
@pytest.mark.parametrize("hard", ["adaptive", "fixed"])
def test_raised_negatives(name, hard, cos, negative, factor):
    formula = create_formula(name, t=factor, hard=hard).double()
    threshold = formula.threshold(samples(torch.tensor([cos], dtype=torch.float64)))[:, None]
    n = torch.tensor([[negative]], dtype=torch.float64, requires_grad=True)
    raised = formula.negatives(n, threshold)
    (slope,) = torch.autograd.grad(raised.sum(), n)
    value = raised.item()
    if negative > threshold.item():
        gain = factor if hard == "adaptive" else 1.0
        assert value == pytest.approx(gain * negative + factor - 1)
        assert slope.item() == pytest.approx(gain)  # M: t for adaptive, 1 for fixed
        assert value >= negative - 1e-12  # cos >= -1 is only ever raised
    else:
        assert (value, slope.item()) == (negative, 1)


@pytest.mark.parametrize("name", formula_names())
def test_closed_form_slopes_equal_autograd(name):
    formula = create_formula(name).double()
    cos = torch.linspace(-0.9985, 0.9985, 400, dtype=torch.float64)[None].requires_grad_()
    threshold = torch.tensor([[0.123456]], dtype=torch.float64)
    (slope,) = torch.autograd.grad(formula.negatives(cos, threshold).sum(), cos)
    closed = formula.negatives_slope(cos.detach(), threshold)
    if closed is None:
        assert formula.identity_negatives
        closed = torch.ones_like(slope)
    torch.testing.assert_close(slope, closed)


INVARIANT = [n for n in formula_names() if n not in ("linear_softmax", "adaface", "magface")]
CHOICES = [
    ("sphereface", {"m": 1.7}),
    ("combined", {"m1": 1.35, "m2": 0.4, "m3": 0.1}),
    ("arcface", {"beyond_pi": "saturate", "gradient": "straight_through"}),
    ("mv_am", {"hard": "fixed", "easy_margin": "margin"}),
    ("curricular", {"statistic": "mode", "rate": 1.0}),
    ("curricular", {"t": 0.7}),
    ("npcface", {"beyond_pi": "linear", "easy_margin": "none"}),
    ("elastic_arc", {"plus": True}),
    ("elastic_cos", {"plus": True, "std": 0.2}),
    ("circle", {"m": 0.4, "s": 64.0}),
]


@pytest.mark.parametrize(("name", "params"), [(n, {}) for n in formula_names()] + CHOICES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.floats(0.01, 100))
def test_class_order_and_embedding_scale(name, params, seed, factor):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 7, (5,), generator=generator)
    heads = [frfw.create_classifier(name, 6, 7, **params).double() for _ in range(3)]
    order = torch.randperm(7, generator=generator)
    k = heads[0].formula.sub_centers
    weight = torch.randn(7, k, 6, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        for head, rows in zip(heads, (weight, weight[order], weight)):
            head.weight.copy_(rows.flatten(0, 1))
    place = order.argsort()
    loss = heads[0](x, y).loss
    torch.testing.assert_close(heads[1](x, place[y]).loss, loss)
    if name in INVARIANT:
        torch.testing.assert_close(heads[2](factor * x, y).loss, loss)


def test_straight_through_keeps_the_value_and_takes_the_cosines_gradient():
    cos = torch.linspace(-0.99, 0.99, 50, dtype=torch.float64, requires_grad=True)
    exact = create_formula("arcface").target(samples(cos))
    through = create_formula("arcface", gradient="straight_through").target(samples(cos))
    assert torch.equal(exact, through)
    (grad,) = torch.autograd.grad(through.sum(), cos)
    assert torch.equal(grad, torch.ones_like(grad))


def test_combined_margin_contains_the_others():
    cos = torch.linspace(-1, 1, 201, dtype=torch.float64)

    def both(one, other):
        torch.testing.assert_close(target(one, cos), target(other, cos), rtol=0, atol=1e-12)

    combined, formula = create_formula, create_formula
    both(combined("combined", m1=1, m2=0.5, m3=0), formula("arcface", m=0.5))
    both(combined("combined", m1=1, m2=0, m3=0.35), formula("cosface", m=0.35))
    both(combined("combined", m1=1, m2=0, m3=0), formula("softmax"))
    psi = formula("sphereface", m=2, annealing=False)
    half = cos > 0  # within π / m the sphere's ψ is cos mθ
    turned = target(combined("combined", m1=2, m2=0, m3=0), cos)
    torch.testing.assert_close(turned[half], target(psi, cos)[half], rtol=0, atol=1e-12)


@many
@given(losses=st.lists(st.floats(0, 50), min_size=1, max_size=20))
def test_weightings(losses):
    values = torch.tensor(losses, dtype=torch.float64)
    mean = create_weighting("mean")(values)
    torch.testing.assert_close(mean, values.mean())
    torch.testing.assert_close(create_weighting("focal", gamma=0)(values), mean)
    p = torch.exp(-values)
    focal = create_weighting("focal", gamma=2.0)(values)
    torch.testing.assert_close(focal, ((1 - p) ** 2 * values).mean())
    torch.testing.assert_close(create_weighting("ohem", keep=1.0)(values), mean)
    kept = max(1, round(0.5 * len(losses)))
    hardest = values.sort(descending=True)[0][:kept]
    torch.testing.assert_close(create_weighting("ohem", keep=0.5)(values), hardest.mean())
