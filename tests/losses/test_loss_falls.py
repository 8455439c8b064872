"""The loss falls as the own cosine rises, over the whole range, whatever the negatives are.

With `beyond_pi=linear`. Two losses are exceptions by their papers' own formulas, shown below.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from frfw.losses import Samples, create_formula

GRID = torch.linspace(-1, 1, 801, dtype=torch.float64)
FALLING = [
    ("softmax", {}),
    ("cosface", {}),
    ("arcface", {}),
    ("arcface", {"m": 1.2}),
    ("combined", {}),
    ("combined", {"m1": 1.35, "m2": 0.4, "m3": 0.1}),
    ("sphereface", {"annealing": False}),
    ("sv_softmax", {}),
    ("mv_am", {}),
    ("mv_arc", {"beyond_pi": "linear"}),
    ("mv_arc", {"beyond_pi": "linear", "hard": "fixed"}),
    ("circle", {}),
    ("magface", {"easy_margin": "none"}),
    ("adaface", {}),
    ("elastic_arc", {"beyond_pi": "linear"}),
    ("elastic_cos", {}),
]


def losses(formula, negatives, norm=20.0):
    """The loss at every own cosine of the grid, with the same negative cosines for each."""
    n = len(GRID)
    cos = torch.tensor(negatives, dtype=torch.float64).expand(n, -1)
    index = torch.arange(n)
    samples = Samples(GRID, torch.full_like(GRID, norm), index, index)
    threshold = formula.threshold(samples)[:, None]
    if formula.uses_survey:
        samples.survey = formula.survey(cos, None, threshold, samples)
    logits = torch.cat([formula.target(samples)[:, None], formula.negatives(cos, threshold)], 1)
    scale = formula.scale(samples)
    scale = scale[:, None] if isinstance(scale, torch.Tensor) else scale
    return F.cross_entropy(scale * logits, torch.zeros(n, dtype=torch.long), reduction="none")


negative = st.lists(st.floats(-1, 1), min_size=1, max_size=6)


@pytest.mark.parametrize(("name", "params"), FALLING)
@settings(max_examples=25, deadline=None)
@given(negatives=negative, norm=st.floats(0.1, 200))
def test_the_loss_falls(name, params, negatives, norm):
    formula = create_formula(name, **params).double().eval()
    value = losses(formula, negatives, norm)
    assert (value.diff() <= 1e-9 * value.max()).all()


@settings(max_examples=25, deadline=None)
@given(negatives=st.lists(st.floats(-0.87, 1), min_size=1, max_size=6))
def test_curricular_falls_where_t_is_1(negatives):
    """Then (t + cos) cos is no jump upwards, but for negatives below cos(pi + m) = -0.88.

    There the threshold cos(theta + m) itself turns round, and such a negative becomes hard as the
    own cosine rises from -1.
    """
    formula = create_formula("curricular", t=1.0).double().eval()
    value = losses(formula, negatives)
    assert (value.diff() <= 1e-9 * value.max()).all()
    below = losses(formula, [-0.9375])
    assert below.diff().max() > 1  # shown, not hidden: no own cosine of a face is there


@settings(max_examples=25, deadline=None)
@given(negatives=negative, t=st.floats(0, 1))
def test_curricular_falls_but_where_a_negative_changes_sides(negatives, t):
    """N jumps between cos and (t + cos) cos where a negative becomes hard or ceases to be."""
    formula = create_formula("curricular", t=t).double()
    value = losses(formula, negatives)
    cos = torch.tensor(negatives, dtype=torch.float64)
    index = torch.arange(len(GRID))
    threshold = formula.threshold(Samples(GRID, GRID, index, index))
    hard = cos > threshold[:, None]
    changed = (hard[:-1] != hard[1:]).any(1)
    rises = value.diff() > 1e-9 * value.max()
    assert not (rises & ~changed).any()


def test_mv_arc_rises_past_pi_without_a_rule():
    """cos(θ + m) comes down again there, and with it both T and the threshold."""
    for hard in ("adaptive", "fixed"):
        formula = create_formula("mv_arc", beyond_pi="none", hard=hard).double()
        assert losses(formula, [-0.96875]).diff().max() > 0.05


def test_curricular_does_rise_there():
    value = losses(create_formula("curricular", t=0.0).double(), [0.5, 0.1, -0.4])
    assert value.diff().max() > 0.1


def test_npcface_rises_where_a_negative_is_let_go():
    """Its margin is the mean over the hard negatives, which jumps when one leaves them."""
    formula = create_formula("npcface", beyond_pi="linear", easy_margin="none").double()
    assert losses(formula, [0.5, 0.1, -0.4]).diff().max() > 0.1
    assert (losses(formula, [-1.0]).diff() <= 1e-9).all()  # none hard: ArcFace with m0
