"""Orders are functions of (seed, epoch) and keep their promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frfw.data.randomness import sample_keys
from frfw.data.sampler import SAMPLERS, SampleStream, ShuffledOrder, create_order
from frfw.errors import FrfwError

counts = st.lists(st.integers(1, 12), min_size=2, max_size=15)


def labels_of(numbers, shuffle=0):
    labels = np.repeat(np.arange(len(numbers)), numbers)
    return np.random.default_rng(shuffle).permutation(labels)


@given(counts, st.sampled_from(["shuffled", "balanced", "square_root"]), st.integers(0, 99))
def test_same_seed_same_order(numbers, name, seed):
    labels = labels_of(numbers)
    one, two = (create_order(name, labels, seed) for _ in range(2))
    for epoch in (3, 0):
        order = one.order(epoch)
        np.testing.assert_array_equal(order, two.order(epoch))
        assert len(order) == one.epoch_size == len(labels)
        assert order.min() >= 0
        assert order.max() < len(labels)


@given(st.integers(1, 200))
def test_shuffled_loses_nothing(n):
    assert sorted(ShuffledOrder(n, 1).order(5)) == list(range(n))


@given(counts, st.sampled_from([("balanced", 0.0), ("square_root", 0.5)]))
def test_weighted_shares(numbers, kind):
    """Every identity gets its share to within one sample, its images as evenly as can be."""
    name, power = kind
    labels = labels_of(numbers)
    order = create_order(name, labels, 2).order(1)
    weight = np.array(numbers, float) ** power
    share = weight / weight.sum() * len(labels)
    got = np.bincount(labels[order], minlength=len(numbers))
    assert np.abs(got - share).max() < 1 + 1e-9
    times = np.bincount(order, minlength=len(labels))
    for identity in range(len(numbers)):
        mine = times[labels == identity]
        assert mine.max() - mine.min() <= 1


@given(counts, st.integers(1, 4), st.integers(1, 5))
def test_pk_groups(numbers, p, k):
    labels = labels_of(numbers)
    eligible = sum(n >= 2 for n in numbers)
    if eligible < p:
        with pytest.raises(FrfwError, match="fewer than p"):
            create_order("pk", labels, 0, p=p, k=k)
        return
    order = create_order("pk", labels, 0, p=p, k=k)
    groups = labels[order.order(2)].reshape(-1, k)
    assert (groups == groups[:, :1]).all()
    assert len(set(groups[:, 0])) == len(groups) == eligible // p * p
    for row, identity in zip(order.order(2).reshape(-1, k), groups[:, 0]):
        assert len(set(row)) == min(k, numbers[identity])


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 5))
def test_stream_is_the_epochs_end_to_end(n, batch, skip):
    """Any batch size, also larger than the set, from any start: nothing lost or doubled."""
    order = ShuffledOrder(n, 3)
    epochs = 1 + (skip + 4) * batch // n
    whole = np.concatenate([order.order(e) for e in range(epochs)])
    stream = SampleStream(order)
    for step in range(skip, skip + 4):
        indices, epoch, place = stream.take(step * batch, (step + 1) * batch)
        np.testing.assert_array_equal(indices, whole[step * batch : (step + 1) * batch])
        np.testing.assert_array_equal(epoch * n + place, np.arange(batch) + step * batch)


def test_epochs_and_seeds_differ():
    orders = [tuple(ShuffledOrder(50, s).order(e)) for s in (0, 1) for e in (0, 1)]
    assert len(set(orders)) == 4


def test_refusals():
    labels = labels_of([3, 3])
    with pytest.raises(FrfwError, match="Did you mean 'balanced'"):
        create_order("balansed", labels)
    with pytest.raises(FrfwError, match="takes no p"):
        create_order("shuffled", labels, p=3)
    with pytest.raises(FrfwError, match="has no 'q'"):
        create_order("pk", labels, q=3)
    assert "pk" in SAMPLERS


def test_keys_are_spread_and_repeatable():
    index = np.arange(20000)
    keys = sample_keys(7, np.zeros(20000, np.int64), index)
    assert len(np.unique(keys)) == 20000
    for bit in (0, 1, 31, 63):
        share = ((keys >> np.uint64(bit)) & np.uint64(1)).mean()
        assert abs(share - 0.5) < 0.02
    flips = [(sample_keys(7, np.full(20000, e), index) & np.uint64(1)).mean() for e in range(3)]
    assert all(abs(f - 0.5) < 0.02 for f in flips)
    assert (keys != sample_keys(8, np.zeros(20000, np.int64), index)).all()


@pytest.mark.parametrize("key", ["p", "k", "minimum"])
@pytest.mark.parametrize("value", ["abc", 0, 1.5])
def test_pk_names_the_key_that_is_no_number(key, value):
    with pytest.raises(FrfwError, match=f"data.sampler.{key}={value}: give a whole number from 1"):
        create_order("pk", np.repeat(np.arange(20), 4), **{key: value})
