"""Embedding losses and mined triplets against public code, in float64 to 1e-9."""

from __future__ import annotations

import pytest
import torch

from frfw.losses import create_embedding_loss, mine
from frfw.losses.distances import euclidean

KINDS = {
    "all": {"mining": "all"},
    "all_nonzero": {"mining": "all", "nonzero": True},
    "batch_hard": {"mining": "batch_hard"},
    "hard": {"mining": "hard"},
    "semihard": {"mining": "semihard"},
    "easy": {"mining": "easy"},
}


def close(mine_, reference):
    torch.testing.assert_close(mine_, reference, rtol=0, atol=1e-9)


def check(loss, reference, name):
    x = reference["x"].requires_grad_()
    value = loss(x, reference["y"])
    (grad,) = torch.autograd.grad(value, x)
    close(value, reference[f"{name}/loss"])
    close(grad, reference[f"{name}/grad_x"])


@pytest.mark.parametrize("margin", [0.2, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_triplet(embedding_reference, kind, margin):
    loss = create_embedding_loss("triplet", 16, 6, margin=margin, **KINDS[kind])
    check(loss, embedding_reference, f"triplet_{kind}_m{margin}")


@pytest.mark.parametrize("margin", [0.2, 0.5])
@pytest.mark.parametrize("kind", ["hard", "semihard", "easy"])
def test_mined_triplets(embedding_reference, kind, margin):
    x = torch.nn.functional.normalize(embedding_reference["x"])
    mined = mine(euclidean(x, x), embedding_reference["y"], kind, margin)
    expected = embedding_reference[f"triplets_{kind}_m{margin}/anchor_positive_negative"]
    assert set(map(tuple, mined.T.tolist())) == set(map(tuple, expected.T.tolist()))
    assert mined.shape == expected.shape


@pytest.mark.parametrize("margin", [1.0, 1.4])
def test_contrastive(embedding_reference, margin):
    loss = create_embedding_loss("contrastive", 16, 6, margin=margin)
    check(loss, embedding_reference, f"contrastive_m{margin}")


def test_centre_loss_and_update(embedding_reference):
    loss = create_embedding_loss("center", 16, 6, alpha=0.5).double().train()
    loss.centers.copy_(embedding_reference["centers"])
    check(loss, embedding_reference, "center_sum_sq")
    close(loss.centers, embedding_reference["center_update/alpha0.5"])
