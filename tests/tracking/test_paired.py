"""The paired test against hand-counted and textbook cases."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frfw.tracking.paired import holm, sign_flip


def test_all_differences_one_way_is_two_patterns_of_all():
    assert sign_flip(np.full(10, 0.9), np.full(10, 0.8)) == pytest.approx(2 / 2**10)


def test_darwins_maize():
    # Fisher (1935), The Design of Experiments, 21: 1726 of 2^15 patterns are as extreme or more.
    differences = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    assert sign_flip(differences, np.zeros(15)) == pytest.approx(1726 / 2**15)


def test_no_difference_and_too_few():
    assert sign_flip(np.ones(6), np.ones(6)) == 1.0
    assert sign_flip([1, 2, 3, 4], [0, 0, 0, 0]) is None


def test_many_pairs_are_drawn_and_agree_with_the_normal_law():
    differences = np.random.default_rng(1).normal(0.3, 1, 60)
    z = differences.sum() / np.sqrt((differences**2).sum())
    assert sign_flip(differences, np.zeros(60)) == pytest.approx(
        2 * NormalDist().cdf(-abs(z)), abs=0.02
    )


@given(st.lists(st.floats(-1, 1), min_size=5, max_size=9), st.floats(0.1, 10))
def test_symmetric_and_without_unit(values, unit):
    values, zeros = np.round(values, 3), np.zeros(len(values))
    p = sign_flip(values, zeros)
    assert sign_flip(zeros, values) == p
    assert 2 / 2 ** len(values) <= p <= 1


def test_holm():
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, 0.06, 0.06]
    assert holm([None, None]) == [None, None]
    assert holm([0.6, 0.9]) == [1.0, 1.0]
