import pytest
from hypothesis import given
from hypothesis import strategies as st

from frfw.errors import FrfwError
from frfw.training.batch_plan import plan_batches


@given(world=st.integers(1, 8), micro=st.integers(1, 16), accumulate=st.integers(1, 8))
def test_parts_make_up_the_global_batch(world, micro, accumulate):
    total = world * micro * accumulate
    plan = plan_batches(1000, total, micro, world, 2, None)
    assert plan.micro_batch * plan.world * plan.accumulate == total
    assert plan.steps == max(1, round(2 * 1000 / total))


def test_a_set_smaller_than_a_batch_works():
    plan = plan_batches(10, 64, None, 2, 32, None)
    assert (plan.micro_batch, plan.accumulate, plan.steps) == (32, 1, 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((10, 10, None, 3, 1, None), "does not divide over 3 processes; take 9 or 12"),
        ((10, 12, 5, 2, 1, None), "micro_batch_size=5 does not divide"),
        ((10, 0, None, 1, 1, None), "global_batch_size=0 must be above 0"),
        ((10, 4, None, 1, 1, 0), "steps=0 must be above 0"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(FrfwError, match=message):
        plan_batches(*settings)
