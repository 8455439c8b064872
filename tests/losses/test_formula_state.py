"""State: moved in training mode only, in place, from the batch; saved and restored; draws."""

from __future__ import annotations

import re

import pytest
import torch

import frfw
from frfw.losses import (
    Samples,
    create_embedding_loss,
    create_formula,
    create_weighting,
    formula_names,
)
from frfw.losses.draws import standard_normal

STATEFUL = [(n, {}) for n in ("curricular", "adaface", "sphereface", "elastic_arc", "elastic_cos")]
STATEFUL += [(name, {"plus": True}) for name in ("elastic_arc", "elastic_cos")]
COS = torch.tensor([0.1, 0.2, 0.605, 0.615, 0.9])
NORM = torch.tensor([5.0, 10.0, 20.0, 30.0, 40.0])


@pytest.mark.parametrize(("name", "params"), STATEFUL)
def test_moves_in_place_and_in_training_mode_only(name, params):
    formula = create_formula(name, **params)
    before = {k: (v, v.clone()) for k, v in formula.named_buffers()}
    formula.eval().observe(COS, NORM)
    assert all(torch.equal(v, old) for v, old in before.values())
    formula.train().observe(COS, NORM)
    assert all(not torch.equal(v, old) for v, old in before.values())
    for key, buffer in formula.named_buffers():
        assert buffer is before[key][0]
        assert buffer.dtype in (torch.float32, torch.int64)


@pytest.mark.parametrize(("name", "params"), [(n, {}) for n in formula_names()] + STATEFUL[-2:])
def test_continues_from_a_saved_state(name, params):
    one = create_formula(name, **params)
    one.observe(COS, NORM)
    other = create_formula(name, **params)
    other.load_state_dict(one.state_dict())
    index = torch.arange(5)
    for formula in (one, other):
        formula.observe(COS, NORM)
    outcome = [f.target(Samples(COS, NORM, index, index)) for f in (one, other)]
    assert torch.equal(*outcome)


@pytest.mark.parametrize(
    ("statistic", "expected"), [("mean", 0.484), ("median", 0.605), ("mode", 0.61)]
)
def test_curricular_statistics(statistic, expected):
    formula = create_formula("curricular", statistic=statistic, rate=0.1)
    formula.observe(COS, NORM)
    assert formula.t.item() == pytest.approx(0.1 * expected, abs=1e-6)
    formula.observe_probability(COS)
    assert formula.t.item() == pytest.approx(0.1 * expected, abs=1e-6)


def test_curricular_by_probability():
    formula = create_formula("curricular", statistic="p", rate=1.0)
    formula.observe(COS, NORM)
    assert formula.t.item() == 0
    formula.observe_probability(torch.tensor([0.2, 0.4]))
    assert formula.t.item() == pytest.approx(0.3)


def test_curricular_fixed_and_clamped():
    fixed = create_formula("curricular", t=0.3)
    fixed.observe(COS, NORM)
    assert fixed.t.item() == pytest.approx(0.3)
    assert not fixed.needs_whole_batch
    low = create_formula("curricular", clamp_t=True, rate=1.0)
    low.observe(-COS, NORM)
    assert low.t.item() == 0


def test_adaface_keeps_its_spread_for_a_batch_of_one():
    formula = create_formula("adaface", t_alpha=1.0)
    formula.observe(COS[:1], NORM[:1])
    assert formula.batch_mean.item() == 5
    assert formula.batch_std.item() == 100


def test_draws_are_normal_and_a_function_of_seed_step_and_index():
    index = torch.arange(200_000)
    draws = standard_normal(1, torch.tensor(5), index)
    assert abs(draws.mean()) < 0.01
    assert abs(draws.std() - 1) < 0.01
    assert abs((draws**4).mean() - 3) < 0.1
    assert torch.equal(draws[100:110], standard_normal(1, torch.tensor(5), index[100:110]))
    for other in (
        standard_normal(2, torch.tensor(5), index),
        standard_normal(1, torch.tensor(6), index),
    ):
        assert abs((draws * other).mean()) < 0.01


def test_elastic_plus_gives_far_samples_the_large_margins():
    formula = create_formula("elastic_cos", plus=True, std=0.1)
    cos = torch.rand(64, generator=torch.Generator().manual_seed(0))
    formula.observe(cos, cos)
    index = torch.arange(64)
    margin = formula.drawn(Samples(cos, cos, index, index))
    assert (margin[cos.argsort()].diff() <= 0).all()
    plain = create_formula("elastic_cos", std=0.1)
    plain.observe(cos, cos)
    drawn = plain.drawn(Samples(cos, cos, index, index))
    torch.testing.assert_close(margin.sort()[0], drawn.sort()[0])


def test_elastic_uses_its_mean_when_evaluating():
    formula = create_formula("elastic_arc").eval()
    index = torch.arange(5)
    own = formula.target(Samples(COS, NORM, index, index))
    assert torch.equal(own, create_formula("arcface").target(Samples(COS, NORM, index, index)))


@pytest.mark.parametrize("rule", ["linear", "saturate", "cosine"])
def test_a_margin_drawn_below_zero_never_turns_beyond_pi(rule):
    """θ + m_i < π for every θ, so that T is cos(θ + m_i) whatever the rule."""
    formula = create_formula("elastic_arc", m=0.0, std=0.5, beyond_pi=rule)
    formula.observe(COS, NORM)
    cos, index = torch.linspace(-0.99, 0.99, 200), torch.arange(200)
    samples = Samples(cos, cos, index, index)
    below = formula.drawn(samples) < 0
    assert below.sum() > 50
    expected = torch.cos(torch.acos(cos) + formula.drawn(samples))
    torch.testing.assert_close(formula.target(samples)[below], expected[below])


def test_centre_loss_moves_only_in_training_mode():
    loss = create_embedding_loss("center", 4, 3)
    x, y = torch.randn(5, 4), torch.tensor([0, 0, 1, 1, 1])
    before = loss.centers.clone()
    loss.eval()(x, y)
    assert torch.equal(loss.centers, before)
    loss.train()(x, y)
    assert not torch.equal(loss.centers[:2], before[:2])
    assert torch.equal(loss.centers[2], before[2])


def test_centres_move_by_the_samples_of_their_class_alone():
    """As eq. 4 is written, class by class; one that is not finite spoils no other."""
    loss = create_embedding_loss("center", 4, 9, alpha=0.3).double().train()
    x, y = torch.randn(40, 4, dtype=torch.float64), torch.randint(8, (40,))
    expected = loss.centers.clone()
    for label in y.unique():
        own = x[y == label]
        expected[label] -= 0.3 * (expected[label] - own).sum(0) / (1 + len(own))
    loss(x, y)
    torch.testing.assert_close(loss.centers, expected)
    x[3] = float("nan")
    loss(x, y)
    assert loss.centers.isnan().any(1).nonzero()[:, 0].tolist() == [int(y[3])]


@pytest.mark.parametrize("mode", ["dense", "tiled"])
@pytest.mark.parametrize("name", formula_names())
def test_autocast_changes_nothing(name, mode):
    """Under bfloat16 autocast the head computes in float32: the same numbers to the last bit."""
    values = []
    for enabled in (False, True):
        x = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
        head = frfw.create_classifier(name, 8, 4, mode)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            out = head(x, torch.arange(6) % 4)
        out.loss.backward()
        values.append((out.per_sample.detach(), x.grad, head.weight.grad))
        assert out.loss.dtype == torch.float32
    assert all(torch.equal(plain, under) for plain, under in zip(*values))


@pytest.mark.parametrize("distance", ["euclidean", "squared", "manhattan", "cosine"])
@pytest.mark.parametrize("name", ["center", "triplet", "contrastive"])
def test_autocast_does_not_change_embedding_losses(name, distance):
    params = {} if name == "center" else {"distance": distance}
    values = []
    for enabled in (False, True):
        x = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
        loss = create_embedding_loss(name, 8, 3, **params)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            value = loss(x, torch.arange(6) % 3)
        value.backward()
        values.append((value.detach(), x.grad))
    assert all(torch.equal(plain, under) for plain, under in zip(*values))


def test_a_fixed_t_is_a_setting_and_not_a_state():
    """Weights of an adaptive run loaded into one with a fixed t leave that t as it is."""
    adaptive, fixed = create_formula("curricular"), create_formula("curricular", t=0.3)
    adaptive.t.fill_(0.77)
    fixed.load_state_dict(adaptive.state_dict())
    assert fixed.t.item() == pytest.approx(0.3)
    other = create_formula("curricular")
    other.load_state_dict(adaptive.state_dict())
    assert other.t.item() == pytest.approx(0.77)


@pytest.mark.parametrize(("name", "params"), STATEFUL)
@pytest.mark.parametrize("convert", ["half", "bfloat16"])
def test_state_stays_float32(name, params, convert):
    formula = create_formula(name, **params)
    formula.observe(COS, NORM)
    before = {k: v.clone() for k, v in formula.named_buffers()}
    getattr(formula, convert)()
    for key, buffer in formula.named_buffers():
        assert torch.equal(buffer, before[key])
        assert buffer.dtype == before[key].dtype
    assert all(b.dtype in (torch.float64, torch.int64) for b in formula.double().buffers())


def test_centres_stay_float32_and_are_saved():
    loss = create_embedding_loss("center", 4, 3)
    loss(torch.randn(6, 4), torch.arange(6) % 3)
    other = create_embedding_loss("center", 4, 3, seed=1).half()
    assert other.centers.dtype == torch.float32
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.centers, loss.centers)


def test_errors_name_the_nearest():
    cases = [
        (lambda: create_formula("arcfase"), "arcface"),
        (lambda: create_formula("arcface", margin=0.5), "'arcface' has no parameter 'margin'"),
        (lambda: create_formula("curricular", statistic="man"), "'mean'"),
        (lambda: create_formula("curricular", t="adaptve"), "'adaptive' or a number"),
        (lambda: create_formula("mv_arc", t=0.2), "at least 1"),
        (lambda: create_formula("arcface", m=28), "radians"),
        (lambda: create_formula("magface", l_a=5, u_a=2), "0 < l_a < u_a"),
        (lambda: create_formula("adaface", t_alpha=2), "t_alpha"),
        (lambda: create_formula("arcface", s=-1), "positive"),
        (lambda: create_weighting("focall"), "focal"),
        (lambda: create_weighting("mean", gamma=2), "It takes: none"),
        (lambda: create_weighting("ohem", keep=0), "keep"),
        (lambda: create_embedding_loss("triplets", 8, 4), "triplet"),
        (lambda: create_embedding_loss("triplet", 8, 4, mining="semi_hard"), "semihard"),
        (lambda: create_embedding_loss("triplet", 8, 4, margin="hard"), "number or 'soft'"),
    ]
    for make, said in cases:
        with pytest.raises(ValueError, match=re.escape(said)):
            make()
