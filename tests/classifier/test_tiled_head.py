"""The tiled engine's own promises: tiles of any size, budgets, half precision, no dense tensors."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import frfw
from frfw.classifier import tiles
from frfw.classifier.sweep import TileSweep
from frfw.classifier.tiles import TilePlan, parse_budget, plan_tiles
from frfw.losses import Formula


def gradients(head, x, y, weights=None):
    x = x.clone().requires_grad_()
    head.weight.grad = None
    out = head(x, y)
    (out.loss if weights is None else (out.per_sample * weights).sum()).backward()
    return out, x.grad, head.weight.grad


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(2, 30),
    st.integers(1, 31),
    st.integers(1, 9),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_tile_size_gives_the_dense_result(batch, classes, width, rows, keep, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 6, generator=generator, dtype=torch.float64)
    y = torch.randint(classes, (batch,), generator=generator)
    dense = frfw.create_classifier("curricular", 6, classes).double().eval()
    tiled = frfw.create_classifier("curricular", 6, classes, "tiled").double().eval()
    plan = TilePlan(min(width, classes), min(rows, batch), keep)
    original, module = plan_tiles, __import__("frfw.classifier.sweep", fromlist=["plan_tiles"])
    module.plan_tiles = lambda *_: plan
    try:
        found = gradients(tiled, x, y)
    finally:
        module.plan_tiles = original
    expected = gradients(dense, x, y)
    torch.testing.assert_close(found[0].per_sample, expected[0].per_sample)
    torch.testing.assert_close(found[1:], expected[1:], rtol=1e-8, atol=1e-10)


def test_slope_by_autograd_when_the_formula_offers_none():
    class Cubic(Formula):
        def negatives(self, cos, threshold):
            return torch.where(cos > threshold, cos**3, cos)

    x, y = torch.randn(7, 6, dtype=torch.float64), torch.arange(7)
    pair = [frfw.create_classifier(Cubic(), 6, 40, mode).double() for mode in ("dense", "tiled")]
    expected, found = (gradients(head, x, y) for head in pair)
    torch.testing.assert_close(found[1:], expected[1:])


class Even(Formula):
    """N(-1) is above every other N: a target that passed for a negative would be the largest."""

    def negatives(self, cos, threshold):
        return cos.abs()


class Steep(Formula):
    """The slope of N is infinite at -1, where the targets of the test are."""

    def negatives(self, cos, threshold):
        return (1 + cos).sqrt() - 1


@pytest.mark.parametrize("own", [-1.0, 0.0, 0.6, 0.95])
@pytest.mark.parametrize("loss", ["circle", "even", "steep"])
@pytest.mark.parametrize("how", [{"memory_budget": 0}, {"compile": True}, {"statistics": True}])
def test_targets_are_no_negatives_whatever_n_is(loss, own, how):
    formula = {"circle": lambda: loss, "even": lambda: Even(128.0), "steep": lambda: Steep(64.0)}
    statistics = how.get("statistics", False)
    options = {key: value for key, value in how.items() if key != "statistics"}
    make = functools.partial(frfw.create_classifier, dim=64, classes=50)
    dense = make(formula[loss](), mode="dense").double()
    tiled = make(formula[loss](), mode="tiled", **options).double()
    dense.statistics = tiled.statistics = statistics
    y = torch.arange(40)
    centres = torch.nn.functional.normalize(dense.weight.detach()[y])
    noise = torch.nn.functional.normalize(torch.randn(40, 64, dtype=torch.float64))
    x = own * centres + (1 - own**2) ** 0.5 * noise
    expected, found = gradients(dense, x, y), gradients(tiled, x, y)
    for a, b in zip(expected[1:], found[1:]):
        # A cosine of -1 is one to rounding, which an infinite slope makes a NaN in the dense sum.
        assert torch.isfinite(b).all()
        if loss != "steep" or own > -1:
            # 1 - p of the dense softmax is rounding where p is 1: the smallest error there is.
            bound = max(1e-9 * a.abs().max().item(), 1e-11)
            torch.testing.assert_close(b, a, rtol=0, atol=bound)


def test_gradients_of_single_samples():
    x, y = torch.randn(5, 6, dtype=torch.float64), torch.tensor([1, 1, 0, 8, 3])
    weights = torch.tensor([0.0, 2.0, 1.0, 0.5, 3.0], dtype=torch.float64)
    pair = [frfw.create_classifier("arcface", 6, 9, mode).double() for mode in ("dense", "tiled")]
    expected, found = (gradients(head, x, y, weights) for head in pair)
    torch.testing.assert_close(found[1:], expected[1:])


@pytest.mark.parametrize(
    ("loss", "budget"), [("curricular", None), ("curricular", 0), ("arcface", None)]
)
def test_compiled_kernels_are_as_exact_as_plain_operations(loss, budget):
    make = functools.partial(frfw.create_classifier, loss, 16, 70)
    exact = make("dense").double()
    heads = [make("tiled", memory_budget=budget, compile=c) for c in (False, True)]
    for seed in range(3):  # the state, t, goes on
        random = torch.Generator().manual_seed(seed)
        x, y = torch.randn(9, 16, generator=random), torch.randint(70, (9,), generator=random)
        y[1] = y[0]
        expected = gradients(exact, x.double(), y)
        plain, compiled = (errors(gradients(head, x, y), expected) for head in heads)
        assert all(c < max(2 * p, 1e-6) for p, c in zip(plain, compiled)), (plain, compiled)
        assert max(compiled) < 1e-5
    assert heads[1].kernels.compiled  # it did not give up


def errors(found, expected):
    """Relative errors of the losses and of each gradient."""
    pairs = [(found[0].per_sample, expected[0].per_sample), *zip(found[1:], expected[1:])]
    return [((a.double() - b).norm() / b.norm()).item() for a, b in pairs]


def test_a_kernel_that_cannot_be_compiled_is_said(monkeypatch):
    head = frfw.create_classifier("arcface", 6, 70, "tiled", compile=True)

    def broken(*_):
        raise RuntimeError("no C++ compiler")

    head.kernels.normed = broken
    with pytest.warns(UserWarning, match="no C\\+\\+ compiler.*plain operations"):
        head(torch.randn(4, 6), torch.arange(4)).loss.backward()


def test_state_of_the_forward_pass_is_used_in_backward():
    x, y = torch.randn(6, 6, dtype=torch.float64), torch.arange(6)
    pair = [
        frfw.create_classifier("curricular", 6, 40, mode, rate=0.5, memory_budget=budget).double()
        for mode, budget in (("dense", None), ("tiled", 0))
    ]
    seen = []
    for head in pair:
        first = head(x, y).loss
        second = head(2 * head.weight[:6].detach() + x, y).loss  # moves t before backward
        (first + second).backward()
        seen.append(head.weight.grad)
        assert head.formula.t != 0
    torch.testing.assert_close(seen[1], seen[0])


@pytest.mark.parametrize("compiled", [False, True])
def test_a_second_backward_pass_computes_the_cosines_again(compiled):
    x = torch.randn(6, 6, dtype=torch.float64, requires_grad=True)
    head = frfw.create_classifier("curricular", 6, 40, "tiled", rate=0.5, compile=compiled)
    loss = head.double()(x, torch.arange(6)).loss
    found = []
    for _ in range(2):
        head.weight.grad = x.grad = None
        loss.backward(retain_graph=True)
        found.append((x.grad, head.weight.grad))
        head.formula.t.fill_(0.7)  # a later forward pass moves it
    for first, second in zip(*found):
        torch.testing.assert_close(second, first)


def test_memory_that_is_not_there_is_not_taken_for_a_kernel_that_cannot_be_compiled(monkeypatch):
    head = frfw.create_classifier("arcface", 6, 70, "tiled", compile=True)

    def full(*_):
        raise torch.OutOfMemoryError("out of memory")

    head.kernels.normed = full
    with pytest.raises(torch.OutOfMemoryError):
        head(torch.randn(4, 6), torch.arange(4))
    assert head.kernels.compiled


PRECISIONS = {"tf32": (2**-11, 5e-3), "fp16": (2**-11, 5e-3), "bf16": (2**-8, 4e-2)}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_low_precision_products_are_near_float64(precision):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(32, 64, generator=generator), torch.arange(32)
    exact = frfw.create_classifier("curricular", 64, 300).double()
    head = frfw.create_classifier("curricular", 64, 300, "tiled", precision=precision)
    expected, found = gradients(exact, x.double(), y), gradients(head, x, y)
    bound = PRECISIONS[precision][1]
    assert (found[0].loss - expected[0].loss).abs() / expected[0].loss < bound / 10
    for a, b in zip(found[1:], expected[1:]):
        assert (a - b).norm() / b.norm() < bound


@pytest.mark.parametrize("weight", [1.0, 1e-9])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_low_precision_has_the_digits_of_its_format(precision, weight):
    """No fewer and no more; also of a small loss, whose factors are beyond the range of fp16.

    A cosine is wrong by up to twice the unit roundoff u, and so an exponential by s times that.
    (A loss whose N jumps where a negative becomes a hard one may be off by such a jump.)
    """
    exact = frfw.create_classifier("arcface", 64, 300).double()
    head = frfw.create_classifier("arcface", 64, 300, "tiled", precision=precision)
    y = torch.arange(32)
    own = F.normalize(exact.weight.detach().float()[y])
    x = 0.6 * own + 0.8 * F.normalize(torch.randn(32, 64))  # so that the negatives weigh too
    weights = torch.full((32,), weight)
    expected = gradients(exact, x.double(), y, weights.double())
    found = gradients(head, x, y, weights)
    u, s = PRECISIONS[precision][0], 64
    for a, b in zip(found[1:], expected[1:]):
        assert u / 2 < (a - b).norm() / b.norm() < s * u


@pytest.mark.parametrize("budget", [0, 20_000, None])
def test_gradient_through_the_scale(budget):
    """SphereFace's s = |x|, of each sample its own."""
    x, y = torch.randn(12, 8, dtype=torch.float64) * 5, torch.arange(12)
    dense = frfw.create_classifier("sphereface", 8, 300, s=None).double()
    tiled = frfw.create_classifier(
        "sphereface", 8, 300, "tiled", memory_budget=budget, s=None
    ).double()
    for a, b in zip(gradients(tiled, x, y)[1:], gradients(dense, x, y)[1:]):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    along = (gradients(dense, x, y)[1] * x).sum(1)
    assert (along.abs() > 1e-3).all()  # which a fixed scale does not give


@pytest.mark.parametrize("mode", ["dense", "tiled"])
def test_bias_of_a_frozen_linear_head(mode):
    x, y = torch.randn(5, 8), torch.arange(5)
    free, frozen = (frfw.create_classifier("linear_softmax", 8, 20, mode) for _ in range(2))
    frozen.weight.requires_grad_(False)
    gradients(free, x, y)
    gradients(frozen, x, y)
    assert frozen.weight.grad is None
    torch.testing.assert_close(frozen.bias.grad, free.bias.grad)


def test_figures_are_those_of_the_state_that_made_the_loss():
    x, y = torch.randn(16, 8), torch.arange(16)
    found = []
    for mode in ("dense", "tiled"):
        head = frfw.create_classifier("curricular", 8, 60, mode, statistic="p", rate=1.0, s=4.0)
        head.statistics = True
        found.append(head(x, y).modulation["mean"])
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"parallel": "sampled", "sample_rate": 0.3}, {"precision": "bf16"}]
)
def test_within_a_compiled_model(options):
    """It stays as it is there: its rounding is wanted, and its rows are chosen anew each step."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)
            self.head = frfw.create_classifier("curricular", 8, 200, "tiled", **options)

        def forward(self, x, y):
            return self.head(self.layer(x), y).loss

    losses = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = Model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model.head.attach(optimizer)
        call = torch.compile(model) if compiled else model
        for _ in range(3):
            loss = call(torch.randn(6, 8), torch.arange(6))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    torch.testing.assert_close(losses[3:], losses[:3])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_embeddings_under_autocast(dtype):
    x, y = torch.randn(8, 16).to(dtype), torch.arange(8)
    head = frfw.create_classifier("arcface", 16, 90, "tiled")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(head, x, y)
    expected = gradients(head, x.float(), y)
    assert found[0].loss.dtype == torch.float32
    assert found[1].dtype == dtype
    torch.testing.assert_close(found[2], expected[2])


def test_frozen_head_still_gives_embeddings_their_gradient():
    head = frfw.create_classifier("arcface", 6, 40, "tiled")
    head.weight.requires_grad_(False)
    _, of_x, of_weight = gradients(head, torch.randn(4, 6), torch.arange(4))
    assert of_x.abs().sum() > 0
    assert of_weight is None


def test_no_second_order():
    head = frfw.create_classifier("arcface", 6, 40, "tiled")
    x = torch.randn(4, 6, requires_grad=True)
    (grad,) = torch.autograd.grad(head(x, torch.arange(4)).loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_evaluation_keeps_nothing(monkeypatch):
    head = frfw.create_classifier("arcface", 6, 40, "tiled")
    kept = []
    original = TileSweep.log_sum_exp
    monkeypatch.setattr(
        TileSweep, "log_sum_exp", lambda self: (original(self), kept.append(self.kept))[0]
    )
    with torch.no_grad():
        head(torch.randn(4, 6), torch.arange(4))
    assert kept == [None]


def test_budget_decides_whether_cosines_are_kept():
    kept = 1024 * 100_000 * 4
    assert plan_tiles(1024, 100_000, 1, 4, False, kept + 50_000_000).keep
    assert not plan_tiles(1024, 100_000, 1, 4, False, kept).keep
    small = plan_tiles(1024, 100_000, 1, 4, False, 5_000_000)
    assert tiles.tile_bytes(1024, small.classes, 1, 4) <= 5_000_000
    assert parse_budget("1.5GiB") == 1.5 * 2**30
    assert parse_budget("500 MB") == 500_000_000


def test_auto_is_dense_for_few_classes_only():
    assert frfw.create_classifier("arcface", 8, 2000, "auto").settings.mode == "dense"
    assert frfw.create_classifier("arcface", 8, 2048, "auto").settings.mode == "tiled"
    assert frfw.create_classifier("subcenter_arcface", 8, 1000, "auto").settings.mode == "tiled"
    assert (
        frfw.create_classifier("arcface", 8, 9, "auto", precision="bf16").settings.mode == "tiled"
    )


def test_a_compiled_head_can_be_saved_whole(tmp_path):
    head = frfw.create_classifier("arcface", 6, 70, "tiled", compile=True)
    x, y = torch.randn(4, 6), torch.arange(4)
    expected = head(x, y).loss
    torch.save(head, tmp_path / "head.pt")
    again = torch.load(tmp_path / "head.pt", weights_only=False)
    assert again.kernels.compiled
    torch.testing.assert_close(again(x, y).loss, expected)


@pytest.mark.parametrize("batch", [1, 64, 96, 1000, 4096])
@pytest.mark.parametrize("dim", [64, 512, 2048])
def test_tiles_of_a_gpu_are_aligned_and_bounded(batch, dim):
    plan = plan_tiles(batch, 10**6, 1, 4, True, 0, dim=dim)
    assert plan.classes % 64 == 0
    assert plan.classes * batch <= 1 << 25
    assert plan.classes * dim <= 1 << 26
