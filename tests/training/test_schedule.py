import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frfw.errors import FrfwError
from frfw.training.schedule import SHAPES, Schedule


@given(
    name=st.sampled_from(sorted(SHAPES)),
    steps=st.integers(1, 500),
    warmup=st.floats(0, 0.9),
)
def test_factor_stays_in_bounds_and_never_rises_after_warmup(name, steps, warmup):
    schedule = Schedule(name, steps, int(warmup * steps))
    factors = [schedule.factor(k) for k in range(steps)]
    assert all(0 <= f <= 1 for f in factors)
    after = factors[schedule.warmup_steps :]
    assert all(a >= b for a, b in pairwise(after))


def test_warmup_is_linear_and_ends_at_one():
    schedule = Schedule("constant", 10, 4)
    assert [schedule.factor(k) for k in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_polynomial_and_cosine_at_the_middle():
    assert Schedule("polynomial", 100, 0, power=2.0).factor(50) == pytest.approx(0.25)
    assert Schedule("cosine", 100, 0).factor(50) == pytest.approx(0.5)
    quarter = Schedule("cosine", 100, 0, floor=0.1).factor(25)
    assert quarter == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))


def test_step_multiplies_at_milestones():
    schedule = Schedule("step", 10, 0, milestones=[0.5, 0.8], gamma=0.1)
    assert [round(schedule.factor(k), 6) for k in (4, 5, 7, 8)] == [1.0, 0.1, 0.1, 0.01]


def test_parameters_of_another_shape_are_refused():
    with pytest.raises(FrfwError, match=r"schedule.power is no parameter .* schedule=constant"):
        Schedule("constant", 10, power=2)
    with pytest.raises(FrfwError, match="milestones, gamma"):
        Schedule("step", 10, floor=0.1)


def test_unknown_name_has_the_nearest():
    with pytest.raises(FrfwError, match="Did you mean 'cosine'"):
        Schedule("cosin", 10)
