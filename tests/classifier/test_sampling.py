"""Sampled classes: which take part, what the loss estimates, which rows move."""

from __future__ import annotations

import pytest
import torch

import frfw
from frfw.classifier.sampling import ClassSampler, joined, uniform


def test_draw_is_uniform_and_depends_on_seed_step_and_class_alone():
    numbers, step = torch.arange(200_000), torch.tensor(3)
    u = uniform(numbers, 7, step)
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 4e-3
    counts = torch.histc(u.float(), 20, 0, 1)
    assert (counts - 10_000).abs().max() < 500
    assert torch.equal(uniform(numbers[500:900], 7, step), u[500:900])
    for other in (uniform(numbers, 8, step), uniform(numbers, 7, step + 1)):
        assert abs(torch.corrcoef(torch.stack([u, other]))[0, 1]) < 0.01


def test_positives_always_take_part_and_stand_for_themselves():
    sampler = ClassSampler(0.1, 0, True)
    labels = torch.tensor([5, 5, 99, 250])
    active = sampler(labels, 0, 200, 1, torch.tensor(0), torch.float64)
    chosen = active.classes.tolist()
    assert {5, 99} <= set(chosen)
    assert chosen == sorted(set(chosen))
    weights = dict(zip(chosen, active.weights.tolist()))
    assert weights.pop(5) == weights.pop(99) == 1
    assert set(weights.values()) == {10}


def test_corrected_sum_over_negatives_estimates_the_full_one():
    torch.manual_seed(0)
    x, y = torch.randn(8, 16, dtype=torch.float64), torch.arange(8)
    full = frfw.create_classifier("softmax", 16, 400, "tiled", s=4.0).double()
    estimates = {}
    for sampling in ("corrected", "partial_fc"):
        head = frfw.create_classifier(
            "softmax",
            16,
            400,
            "tiled",
            parallel="sampled",
            sample_rate=0.2,
            sampling=sampling,
            s=4.0,
        ).double()
        sums = [head(x, y).per_sample.detach().expm1() for _ in range(200)]
        estimates[sampling] = torch.stack(sums).mean(0)
    exact = full(x, y).per_sample.detach().expm1()  # sum over negatives / e^{sT}
    assert ((estimates["corrected"] - exact) / exact).abs().max() < 0.05
    assert (estimates["partial_fc"] / exact).max() < 0.3


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_rows_that_were_not_sampled_do_not_move(kind):
    head = frfw.create_classifier("arcface", 8, 300, "tiled", parallel="sampled", sample_rate=0.1)
    options = {"lr": 0.1, "weight_decay": 0.1}
    optimizer = (
        torch.optim.SGD(head.parameters(), momentum=0.9, **options)
        if kind == "sgd"
        else torch.optim.AdamW(head.parameters(), **options)
    )
    head.attach(optimizer)
    for _ in range(4):
        before = head.weight.detach().clone()
        state = {k: v.clone() for k, v in optimizer.state.get(head.weight, {}).items()}
        optimizer.zero_grad()
        head(torch.randn(6, 8), torch.randint(300, (6,))).loss.backward()
        rows = head.weight.grad.coalesce().indices()[0]
        optimizer.step()
        still = torch.ones(300, dtype=torch.bool)
        still[rows] = False
        assert 0 < len(rows) < 100
        assert torch.equal(head.weight[still], before[still])
        assert (head.weight[rows] != before[rows]).any(1).all()
        for key, value in optimizer.state[head.weight].items():
            if value.shape == head.weight.shape and key in state:
                assert torch.equal(value[still], state[key][still])
    assert head.state_dict()["sample_step"].item() == 4
    assert optimizer.param_groups[0]["params"][0] is head.weight


def test_evaluation_uses_every_class():
    head = frfw.create_classifier("arcface", 8, 300, "tiled", parallel="sampled", sample_rate=0.1)
    full = frfw.create_classifier("arcface", 8, 300, "tiled")
    x, y = torch.randn(6, 8), torch.arange(6)
    torch.testing.assert_close(head.eval()(x, y).loss, full.eval()(x, y).loss)


def test_accumulated_gradients_have_every_row_once():
    head = frfw.create_classifier("arcface", 8, 300, "tiled", parallel="sampled", sample_rate=0.5)
    for _ in range(2):
        head(torch.randn(6, 8), torch.randint(300, (6,))).loss.backward()
    head.reduce_gradients()
    rows = head.weight.grad._indices()[0]
    assert head.weight.grad.is_coalesced()
    assert len(rows.unique()) == len(rows)


def test_the_gradient_of_one_backward_pass_is_not_copied_to_be_joined():
    head = frfw.create_classifier("arcface", 8, 300, "tiled", parallel="sampled", sample_rate=0.5)
    head(torch.randn(6, 8), torch.randint(300, (6,))).loss.backward()
    before = head.weight.grad
    head.reduce_gradients()
    assert head.weight.grad.is_coalesced()
    assert head.weight.grad._values().data_ptr() == before._values().data_ptr()
    assert torch.equal(head.weight.grad.to_dense(), before.to_dense())


def test_rows_out_of_order_are_joined_by_sorting():
    rows, values = torch.tensor([[3, 1, 3]]), torch.arange(6.0).view(3, 2)
    gradient = torch.sparse_coo_tensor(rows, values, (5, 2))
    found = joined(gradient)
    assert found.indices().tolist() == [[1, 3]]
    assert torch.equal(found.to_dense(), gradient.to_dense())
