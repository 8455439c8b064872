"""Mining online and offline, and training on given triplets."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frfw.losses import (
    create_embedding_loss,
    in_threes,
    mine,
    mine_offline,
    read_triplets,
    write_triplets,
)
from frfw.losses.distances import DISTANCES
from frfw.losses.triplets import MINING


def gap_of(x, triplets, distance="euclidean"):
    distances = DISTANCES[distance](x, x)
    a, p, n = triplets
    return distances[a, n] - distances[a, p]


KIND = {
    "all": lambda gap: gap > -torch.inf,
    "batch_hard": lambda gap: gap > -torch.inf,
    "hard": lambda gap: gap <= 0,
    "semihard": lambda gap: (gap > 0) & (gap <= 0.3),
    "easy": lambda gap: gap > 0.3,
}


@pytest.mark.parametrize("kind", MINING)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 24), classes=st.integers(1, 6))
def test_mined_triplets_are_of_their_kind(kind, seed, size, classes):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(0, classes, (size,), generator=generator)
    online = mine(DISTANCES["euclidean"](x, x), y, kind, 0.3)
    offline = mine_offline(x, y, kind, 0.3, positives_per_anchor=2, block=7)
    for triplets in (online, offline):
        anchor, positive, negative = triplets
        assert (anchor != positive).all()
        assert (y[anchor] == y[positive]).all()
        assert (y[anchor] != y[negative]).all()
        assert KIND[kind](gap_of(x, triplets)).all()
    assert set(map(tuple, offline.T.tolist())) <= everything(x, y)
    # Offline leaves an anchor out only where online mining finds nothing for it either.
    if kind != "batch_hard" and size <= 3:
        assert set(offline[0].tolist()) == set(online[0].tolist())


def everything(x, y):
    return set(map(tuple, mine(DISTANCES["euclidean"](x, x), y, "all", 0.0).T.tolist()))


def test_offline_is_a_function_of_its_arguments():
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(60) % 6
    one = mine_offline(x, y, "semihard", 0.5, seed=1)
    assert torch.equal(one, mine_offline(x, y, "semihard", 0.5, seed=1))
    assert not torch.equal(one, mine_offline(x, y, "semihard", 0.5, seed=2))


def test_offline_batch_hard_is_online_batch_hard():
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(40) % 5
    online = mine(DISTANCES["cosine"](x, x), y, "batch_hard", 0)
    offline = mine_offline(x, y, "batch_hard", distance="cosine", block=9)
    assert torch.equal(online, offline)


def test_given_triplets_are_used():
    x = torch.randn(6, 4, requires_grad=True)
    y = torch.tensor([0, 0, 1, 1, 2, 2])
    loss = create_embedding_loss("triplet", 4, 3, margin="soft", normalize=False)
    value = loss(x, y, triplets=torch.tensor([[0], [1], [2]]))
    expected = torch.nn.functional.softplus((x[0] - x[1]).norm() - (x[0] - x[2]).norm())
    torch.testing.assert_close(value, expected)
    value.backward()
    assert torch.equal(x.grad[3:], torch.zeros(3, 4))


def test_batches_in_threes():
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(30) % 5
    triplets = mine_offline(x, y, "semihard", 0.5)
    order = in_threes(triplets, seed=1, epoch=2)
    assert torch.equal(order, in_threes(triplets, seed=1, epoch=2))
    assert not torch.equal(order, in_threes(triplets, seed=1, epoch=3))
    assert set(map(tuple, order.view(-1, 3).tolist())) == set(map(tuple, triplets.T.tolist()))
    batch = order[:12]
    given = create_embedding_loss("triplet", 4, 5, mining="given")
    named = create_embedding_loss("triplet", 4, 5)
    rows = torch.arange(12).view(4, 3).T
    assert torch.equal(given(x[batch], y[batch]), named(x[batch], y[batch], triplets=rows))
    with pytest.raises(ValueError, match="multiple of 3"):
        given(x[:4], y[:4])


def test_file_of_triplets(tmp_path):
    labels, triplets = torch.tensor([0, 0, 1]), torch.tensor([[0], [1], [2]])
    path = tmp_path / "triplets.pt"
    write_triplets(path, triplets, labels)
    assert torch.equal(read_triplets(path, labels), triplets)
    with pytest.raises(ValueError, match="mine the triplets again"):
        read_triplets(path, labels.flip(0))
    (tmp_path / "other.pt").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="not a triplet file"):
        read_triplets(tmp_path / "other.pt")
    with pytest.raises(ValueError, match="not a triplet file"):
        read_triplets(tmp_path / "missing.pt")
