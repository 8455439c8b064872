"""SGD inside backward: plain SGD's numbers, its optimizer's settings, and when it does nothing."""

from __future__ import annotations

import pytest
import torch

import frfw


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("parallel", ["replicated", "sampled"])
def test_fused_update_is_plain_sgd(nesterov, parallel):
    rate = 0.4 if parallel == "sampled" else 1.0
    weights, momenta = [], []
    for fused in (False, True):
        head = frfw.create_classifier(
            "curricular",
            8,
            150,
            "tiled",
            seed=2,
            parallel=parallel,
            sample_rate=rate,
            fused_update=fused,
        ).double()
        optimizer = torch.optim.SGD(
            head.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=nesterov
        )
        head.attach(optimizer)
        for step in range(6):
            generator = torch.Generator().manual_seed(step)
            x = torch.randn(11, 8, generator=generator, dtype=torch.float64)
            optimizer.zero_grad()
            head(x, torch.randint(150, (11,), generator=generator)).loss.backward()
            assert (head.weight.grad is None) == fused
            optimizer.step()
        weights.append(head.weight.detach())
        momenta.append(optimizer.state[head.weight]["momentum_buffer"])
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(momenta[1], momenta[0], rtol=0, atol=1e-10)


def fused_head():
    head = frfw.create_classifier("curricular", 8, 150, "tiled", fused_update=True, seed=2)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)
    head.attach(optimizer)
    return head, optimizer


def test_fused_update_follows_the_optimizer_through_load_state_dict():
    head, optimizer = fused_head()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.param_groups[0]["lr"] = 0.0
    before = head.weight.detach().clone()
    head(torch.randn(11, 8), torch.arange(11)).loss.backward()
    assert torch.equal(head.weight, before)


def test_evaluation_does_not_update():
    head, _ = fused_head()
    before, x = head.weight.detach().clone(), torch.randn(11, 8, requires_grad=True)
    head.eval()(x, torch.arange(11)).loss.backward()
    assert torch.equal(head.weight, before)
    assert x.grad.any()
    head.train()(x, torch.arange(11)).loss.backward()
    assert not torch.equal(head.weight, before)


def test_fused_update_leaves_the_weight_where_a_batch_is_not_finite():
    head = frfw.create_classifier("curricular", 8, 150, "tiled", fused_update=True, seed=2)
    head.check_finite = False
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    head.attach(optimizer)
    for bad in (False, True, False):
        x = torch.randn(11, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
        before = head.weight.detach().clone()
        momentum = optimizer.state[head.weight].get("momentum_buffer", torch.zeros(1)).clone()
        state = [b.clone() for b in head.buffers()]
        head(x * float("nan") if bad else x, torch.arange(11)).loss.backward()
        if bad:  # the trainer's guard puts t back
            [b.copy_(kept) for b, kept in zip(head.buffers(), state)]
        assert torch.equal(head.weight.detach(), before) == bad
        after = optimizer.state[head.weight]["momentum_buffer"]
        assert not bad or torch.equal(after, momentum)
        assert bool(torch.isfinite(head.weight).all() and torch.isfinite(after).all())
