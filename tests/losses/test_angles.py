"""Angles from cosines: values and gradients, up to and beyond the ends of [-1, 1]."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frfw.losses.angles import add_angle, sine

EDGES = [-1.0001, -1.0, -0.999999, -0.5, 0.0, 0.3, 0.999999, 1.0, 1.0001]


def gradient_of(function, cos):
    cos = cos.clone().requires_grad_()
    (found,) = torch.autograd.grad(function(cos).sum(), cos)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("m", [0.0, 0.5, 1.2, math.pi])
def test_the_gradient_of_an_added_angle_is_that_of_its_formula(m, dtype):
    """The margin of a number has a backward pass of its own; that of a tensor has autograd's."""
    cos = torch.tensor(EDGES, dtype=dtype)
    turn = torch.tensor(m, dtype=torch.float64)
    plain = lambda c: c * math.cos(m) - sine(c) * math.sin(m)  # noqa: E731
    assert torch.equal(add_angle(cos, m), plain(cos))
    found = gradient_of(lambda c: add_angle(c, m), cos)
    torch.testing.assert_close(found, gradient_of(plain, cos))
    if dtype == torch.float64:
        torch.testing.assert_close(found, gradient_of(lambda c: add_angle(c, turn), cos))
    assert torch.isfinite(found).all()


@given(st.floats(-0.999, 0.999), st.floats(0, math.pi))
def test_an_added_angle_is_the_cosine_of_the_sum(cos, m):
    value = torch.tensor([cos], dtype=torch.float64, requires_grad=True)
    expected = math.cos(math.acos(cos) + m)
    assert add_angle(value, m).item() == pytest.approx(expected, abs=1e-12)
    assert torch.autograd.gradcheck(lambda c: add_angle(c, m), (value,), eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("rule", ["linear", "cosine", "saturate"])
@pytest.mark.parametrize("m", [0.0, 0.5, 2.5])
def test_rules_beyond_pi_against_plain_autograd(rule, m):
    cos = torch.linspace(-0.9999, 0.9999, 401, dtype=torch.float64)

    def plain(c):
        past = {"linear": c - m * math.sin(m), "cosine": c, "saturate": torch.full_like(c, -1)}
        turned = c * math.cos(m) - sine(c) * math.sin(m)
        return torch.where(c > -math.cos(m), turned, past[rule])

    assert torch.equal(add_angle(cos, m, rule), plain(cos))
    expected = gradient_of(plain, cos)
    torch.testing.assert_close(gradient_of(lambda c: add_angle(c, m, rule), cos), expected)
    drawn = torch.full_like(cos, m)  # a margin of each sample's own, as ElasticFace draws them
    torch.testing.assert_close(gradient_of(lambda c: add_angle(c, drawn, rule), cos), expected)
