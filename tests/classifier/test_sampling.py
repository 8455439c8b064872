"""Sampled classes: which take part, what the loss estimates, which rows move."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F

import frfw
from frfw.classifier.sampling import ClassSampler, joined, uniform
from frfw.errors import FrfwError


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
        head.attach(torch.optim.SGD(head.parameters()))
        sums = [head(x, y).per_sample.detach().expm1() for _ in range(200)]
        estimates[sampling] = torch.stack(sums).mean(0)
    exact = full(x, y).per_sample.detach().expm1()  # sum over negatives / e^{sT}
    assert ((estimates["corrected"] - exact) / exact).abs().max() < 0.05
    assert (estimates["partial_fc"] / exact).max() < 0.3


def sampled_head(rate: float = 0.5, seed: int = 0):
    options = {"parallel": "sampled", "sample_rate": rate, "seed": seed}
    return frfw.create_classifier("arcface", 8, 300, "tiled", **options)


def test_training_without_the_optimizer_is_refused():
    head, x, y = sampled_head(), torch.randn(6, 8), torch.arange(6)
    with pytest.raises(FrfwError, match=r"call classifier.attach\(optimizer\) first"):
        head(x, y)
    with torch.no_grad():
        head(x, y)
    head.eval()(x, y).loss.backward()


@pytest.mark.parametrize("kind", ["Adafactor", "LBFGS", "Rprop"])
def test_optimizers_with_other_state_are_refused(kind):
    head = sampled_head()
    with pytest.raises(FrfwError, match=f"cannot be trained with {kind}, which"):
        head.attach(getattr(torch.optim, kind)(head.parameters()))


def test_a_closure_is_refused():
    head = sampled_head()
    optimizer = torch.optim.SGD(head.parameters())
    head.attach(optimizer)
    with pytest.raises(FrfwError, match="call backward first"):
        optimizer.step(lambda: head(torch.randn(6, 8), torch.arange(6)).loss.backward())


def test_attaching_again_replaces_the_first():
    head = sampled_head()
    for _ in range(2):
        optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
        head.attach(optimizer)
        head.attach(optimizer)
        head(torch.randn(6, 8), torch.arange(6)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        assert optimizer.param_groups[0]["params"][0] is head.weight


def test_a_state_loads_with_and_without_sampling():
    sampled, full = sampled_head(), frfw.create_classifier("arcface", 8, 300, "tiled", seed=1)
    sampled.sample_step.fill_(7)
    full.load_logical_state(sampled.logical_state())
    assert torch.equal(full.weight, sampled.weight)
    other = sampled_head(seed=2)
    other.sample_step.fill_(3)
    other.load_state_dict(full.state_dict())
    assert torch.equal(other.weight, sampled.weight)
    assert other.sample_step == 3
    other.load_state_dict(sampled.state_dict())
    assert other.sample_step == 7


@pytest.mark.parametrize("seed", [2**34, 99999999999, 2**63])
def test_any_seed_draws(seed):
    head = sampled_head(seed=seed)
    head.attach(torch.optim.SGD(head.parameters()))
    head(torch.randn(6, 8), torch.arange(6)).loss.backward()
    assert 50 < len(head.weight.grad._indices()[0]) < 250


KEEP_NUMBERS_FOR_EACH_WEIGHT = [
    "SGD",
    "Adam",
    "AdamW",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Adagrad",
    "Adadelta",
    "ASGD",
    "Adamax",
]


@pytest.mark.parametrize("kind", KEEP_NUMBERS_FOR_EACH_WEIGHT)
def test_rows_that_were_not_sampled_do_not_move(kind):
    head = sampled_head(0.1)
    options = {"momentum": 0.9} if kind in ("SGD", "RMSprop") else {}
    optimizer = getattr(torch.optim, kind)(head.parameters(), lr=0.1, weight_decay=0.1, **options)
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


@pytest.mark.parametrize("options", [{}, {"memory_budget": 0}, {"memory_budget": 20_000}])
@pytest.mark.parametrize("sampling", ["corrected", "partial_fc"])
def test_gradients_are_those_of_the_weighed_sum(sampling, options):
    check_sampled_gradients(sampling, {"compile": False, **options})


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"memory_budget": 0}])
def test_gradients_of_compiled_loops(options):
    check_sampled_gradients("corrected", {"compile": True, **options})


def check_sampled_gradients(sampling, options):
    """Against softmax over the drawn classes by autograd, in float64."""
    head = frfw.create_classifier(
        "cosface", 8, 300, "tiled", s=8.0, m=0.2, parallel="sampled", sample_rate=0.25,
        sampling=sampling, **options,
    ).double()  # fmt: skip
    head.attach(torch.optim.SGD(head.parameters()))
    x = torch.randn(6, 8, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([3, 3, 100, 299, 7, 8])
    out = head(x, y)
    out.loss.backward()
    rows = head.weight.grad.coalesce().indices()[0]
    assert 20 < len(rows) < 200
    x_, w_ = (t.detach().clone().requires_grad_() for t in (x, head.weight))
    logits = 8 * F.normalize(x_) @ F.normalize(w_[rows]).T
    own = torch.searchsorted(rows, y)
    logits = logits - 8 * 0.2 * F.one_hot(own, len(rows))
    if sampling == "corrected":  # a drawn class stands for four; those of the batch for themselves
        logits = logits + torch.where(torch.isin(rows, y), 0.0, math.log(4))
    loss = F.cross_entropy(logits, own)
    loss.backward()
    torch.testing.assert_close(out.loss, loss)
    torch.testing.assert_close(x.grad, x_.grad)
    torch.testing.assert_close(head.weight.grad.to_dense(), w_.grad)


def test_the_lowest_number_is_drawn_only_where_there_is_nothing_else():
    sampler = ClassSampler(1e-9, 1, True)
    step = torch.tensor(0)
    some = sampler(torch.tensor([5]), 0, 50, 1, step, torch.float64)
    assert some.classes.tolist() == [5]
    none = sampler(torch.tensor([5]), 50, 100, 1, step, torch.float64)
    assert len(none.classes) == 1


def test_an_attached_head_can_be_copied_and_stored(tmp_path):
    head = sampled_head()
    head.attach(torch.optim.SGD(head.parameters()))
    torch.save(head, tmp_path / "head.pt")
    stored = torch.load(tmp_path / "head.pt", weights_only=False)
    for other in (copy.deepcopy(head), stored):
        torch.testing.assert_close(other.weight, head.weight)
        with pytest.raises(FrfwError, match="attach"):
            other(torch.randn(6, 8), torch.arange(6))


def test_a_step_that_is_tried_again_moves_the_head():
    head = sampled_head()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, weight_decay=0.1)
    head.attach(optimizer)
    before = head.weight.detach().clone()
    head(torch.randn(6, 8), torch.arange(6)).loss.backward()
    optimizer.param_groups[0]["lr"] = "none"
    with pytest.raises(TypeError):
        optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.step()
    assert (head.weight != before).any(1).sum() == len(head.weight.grad.coalesce().indices()[0])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_head_can_be_pickled(protocol):
    head = pickle.loads(pickle.dumps(sampled_head(), protocol))
    assert head.exchange.world == 1
    assert head.eval()(torch.randn(6, 8), torch.arange(6)).loss.isfinite()


def test_a_step_that_failed_leaves_nothing_behind():
    head = sampled_head()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)
    head.attach(optimizer)
    for rate in ("none", 0.1):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        head(torch.randn(6, 8), torch.arange(6)).loss.backward()
        if rate == "none":
            with pytest.raises(TypeError):
                optimizer.step()
        else:
            before = head.weight.detach().clone()
            optimizer.step()
            assert not torch.equal(before, head.weight)
    assert len(optimizer.state) == 1
    assert optimizer.param_groups[0]["params"][0] is head.weight


def test_a_first_step_that_is_skipped_leaves_no_momentum(monkeypatch):
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)  # new memory then holds NaN, as it may on a GPU
    try:
        head = frfw.create_classifier(
            "arcface", 8, 50, "tiled", parallel="sampled", sample_rate=0.5
        )
        optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9, fused=True)
        head.attach(optimizer)
        before = head.weight.detach().clone()
        for skipped in (1.0, 0.0):
            optimizer.zero_grad()
            head(torch.randn(4, 8), torch.arange(4)).loss.backward()
            optimizer.found_inf = torch.tensor(skipped)
            optimizer.step()
            assert torch.equal(head.weight, before) == bool(skipped)
        assert head.weight.isfinite().all()
        assert optimizer.state[head.weight]["momentum_buffer"].isfinite().all()
    finally:
        torch.use_deterministic_algorithms(False)


def test_evaluation_uses_every_class():
    head = sampled_head(0.1)
    full = frfw.create_classifier("arcface", 8, 300, "tiled")
    x, y = torch.randn(6, 8), torch.arange(6)
    torch.testing.assert_close(head.eval()(x, y).loss, full.eval()(x, y).loss)


def test_accumulated_gradients_have_every_row_once():
    head = sampled_head()
    head.attach(torch.optim.SGD(head.parameters()))
    for _ in range(2):
        head(torch.randn(6, 8), torch.randint(300, (6,))).loss.backward()
    head.reduce_gradients()
    rows = head.weight.grad._indices()[0]
    assert head.weight.grad.is_coalesced()
    assert len(rows.unique()) == len(rows)


def test_the_gradient_of_one_backward_pass_is_not_copied_to_be_joined():
    head = sampled_head()
    head.attach(torch.optim.SGD(head.parameters()))
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
