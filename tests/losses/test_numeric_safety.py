"""No NaN and no infinity, in value or gradient, where public code has them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from dense import dense

import frfw
from frfw.losses import (
    Samples,
    create_embedding_loss,
    create_formula,
    create_weighting,
    embedding_loss_names,
    formula_names,
    widen,
)

DIM, CLASSES = 8, 6
VARIANTS = [(name, {}) for name in formula_names()] + [
    (name, {"beyond_pi": rule, "gradient": gradient, "easy_margin": easy})
    for name in ("arcface", "combined", "curricular", "magface")
    for rule in ("none", "saturate", "cosine", "linear")
    for gradient, easy in (("exact", "none"), ("straight_through", "margin"))
]
VARIANTS += [
    ("sphereface", {"m": 1.7}),
    ("sphereface", {"s": None, "annealing": False}),
    ("combined", {"m1": 1.35, "m2": 0.4, "m3": 0.1}),
    ("elastic_arc", {"plus": True}),
    ("elastic_cos", {"plus": True}),
    ("curricular", {"statistic": "p"}),
    ("curricular", {"statistic": "mode"}),
    ("curricular", {"statistic": "median", "t": 1.0}),
    ("sv_softmax", {"hard": "fixed"}),
]


def centres():
    return torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(0)))[0][
        :CLASSES
    ]


def embeddings(kind):
    weight, y = centres(), torch.arange(CLASSES)
    noise = torch.randn(CLASSES, DIM, generator=torch.Generator().manual_seed(1))
    return {
        "own centre": weight[y].clone(),
        "opposite": -weight[y],
        "zero": torch.zeros(CLASSES, DIM),
        "tiny": 1e-6 * noise,
        "huge": 1e4 * noise / noise.norm(dim=1, keepdim=True),
        "all hard": weight[(y + 1) % CLASSES] - 0.9 * weight[y],
        "none hard": 20 * weight[y] - weight.sum(0),
    }[kind]


KINDS = ["own centre", "opposite", "zero", "tiny", "huge", "all hard", "none hard"]


def finite(*tensors):
    for tensor in tensors:
        assert torch.isfinite(tensor).all()


HALF = [(name, {}, dtype) for name in formula_names() for dtype in (torch.float16, torch.bfloat16)]


CASES = [(*variant, torch.float32, "dense") for variant in VARIANTS]
CASES += [(*half, "dense") for half in HALF]
CASES += [(*half, "tiled") for half in HALF]
CASES += [(name, {}, torch.float32, "tiled") for name in formula_names()]


@pytest.mark.parametrize(("name", "params", "dtype", "mode"), CASES)
def test_classifier(name, params, dtype, mode):
    for kind in KINDS:
        head = frfw.create_classifier(name, DIM, CLASSES, mode, compile=False, **params)
        with torch.no_grad():
            head.weight.copy_(centres().repeat_interleave(head.formula.sub_centers, 0))
        x = embeddings(kind).to(dtype).requires_grad_()
        for _ in range(2):  # the second time with state that has moved
            out = head(x, torch.arange(CLASSES))
        out.loss.backward()
        finite(out.loss, out.per_sample, head.weight.grad, x.grad)
        finite(*[b for b in head.formula.buffers() if b.is_floating_point()])


def test_a_gradient_beyond_float16_keeps_its_direction():
    x = torch.tensor([[3.0, 4.0], [3.0, 4.0]], dtype=torch.float16, requires_grad=True)
    factor = torch.tensor([[1e6, -5e5], [2.0, 8.0]])
    (widen(x, torch.float32) * factor).sum().backward()
    assert x.grad.tolist() == [[65504.0, -32752.0], [2.0, 8.0]]
    x.grad = None
    (widen(x, torch.float32) * torch.tensor([[torch.inf, 1.0], [1.0, 1.0]])).sum().backward()
    assert not torch.isfinite(x.grad[0]).all()
    assert x.grad[1].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("mode", ["dense", "tiled"])
@pytest.mark.parametrize("weighting", ["focal", "ohem"])
def test_weighting_leaves_the_regulariser_alone(weighting, mode):
    head = frfw.create_classifier("magface", DIM, CLASSES, mode, compile=False)
    x, y = embeddings("all hard") * 20, torch.arange(CLASSES)
    plain = head(x, y)
    norm = x.norm(dim=1)
    of_norm = head.formula.regulariser(Samples(norm, norm, y, y))
    head.weighting = create_weighting(weighting)
    expected = head.weighting(plain.per_sample - of_norm) + of_norm.mean()
    torch.testing.assert_close(head(x, y).loss, expected)


@pytest.mark.parametrize("mode", ["dense", "tiled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", formula_names())
def test_small_batches_through_the_classifier(name, dtype, mode):
    for batch, classes in ((1, CLASSES), (3, 1), (1, 1)):
        head = frfw.create_classifier(name, DIM, classes, mode, compile=False).train()
        for scale in (1, 1e-6, 1e4):
            x = scale * torch.randn(batch, DIM, generator=torch.Generator().manual_seed(2))
            x = x.to(dtype).requires_grad_()
            out = head(x, torch.zeros(batch, dtype=torch.int64))
            out.loss.backward()
            finite(out.loss, out.per_sample, x.grad, head.weight.grad)
        finite(*[b for b in head.formula.buffers() if b.is_floating_point()])


@pytest.mark.parametrize(("name", "params"), VARIANTS)
@pytest.mark.parametrize(("batch", "classes"), [(1, CLASSES), (3, 1), (1, 1)])
def test_batch_of_one_and_single_class(name, params, batch, classes):
    formula = create_formula(name, **params).train()
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(batch, DIM, generator=generator, requires_grad=True)
    weight = torch.randn(classes * formula.sub_centers, DIM, generator=generator)
    weight.requires_grad_()
    for _ in range(2):
        _, per_sample, _ = dense(formula, x, weight, torch.zeros(batch, dtype=torch.int64))
    finite(per_sample, *torch.autograd.grad(per_sample.mean(), (x, weight)))
    finite(*[b for b in formula.buffers() if b.is_floating_point()])


@pytest.mark.parametrize(("name", "params"), VARIANTS)
def test_cosines_beyond_one_by_rounding(name, params):
    formula = create_formula(name, **params).train()
    cos = torch.tensor([1 + 2e-7, 1.0, 1 - 6e-8, 0.0, -1.0, -1 - 2e-7], requires_grad=True)
    norm = torch.full((6,), 20.0, requires_grad=True)
    formula.observe(cos.detach(), norm.detach())
    index = torch.arange(6)
    target = formula.target(Samples(cos, norm, index, index))
    finite(target, *torch.autograd.grad(target.sum(), cos))


@pytest.mark.parametrize("name", ["mean", "focal", "ohem"])
def test_weighting(name):
    weighting = create_weighting(name)
    for values in ([0.0], [0.0, 0.0], [1e-30, 1e4, 3.0, 0.0]):
        per_sample = torch.tensor(values, requires_grad=True)
        loss = weighting(per_sample)
        finite(loss, *torch.autograd.grad(loss, per_sample))


def test_focal_with_fractional_gamma_at_a_perfect_sample():
    per_sample = torch.tensor([0.0, 1e-12, 1.0], requires_grad=True)
    loss = create_weighting("focal", gamma=0.5)(per_sample)
    finite(loss, *torch.autograd.grad(loss, per_sample))


EMBEDDING = [(name, {}) for name in embedding_loss_names()]
EMBEDDING += [
    (name, {"distance": distance, "normalize": normalize})
    for name in ("triplet", "contrastive")
    for distance in ("euclidean", "squared", "cosine", "manhattan")
    for normalize in (True, False)
]
EMBEDDING += [("triplet", {"margin": "soft", "mining": m}) for m in ("all", "hard", "easy")]
EMBEDDING += [("triplet", {"mining": m}) for m in ("all", "hard", "semihard", "easy")]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("name", "params"), EMBEDDING)
def test_embedding_losses(name, params, dtype):
    batches = [
        (embeddings("own centre").repeat(2, 1), torch.arange(CLASSES).repeat(2)),  # duplicates
        (embeddings("zero"), torch.arange(CLASSES) % 2),
        (embeddings("tiny"), torch.arange(CLASSES) % 2),
        (embeddings("huge"), torch.arange(CLASSES) % 2),
        (torch.cat([embeddings("own centre"), embeddings("opposite")]), torch.arange(12) % CLASSES),
        (embeddings("all hard"), torch.zeros(CLASSES, dtype=torch.int64)),  # a single class
        (embeddings("all hard"), torch.arange(CLASSES)),  # no positives
        (embeddings("all hard")[:1], torch.zeros(1, dtype=torch.int64)),
    ]
    for x, y in batches:
        loss_module = create_embedding_loss(name, DIM, CLASSES, **params)
        x = x.to(dtype).requires_grad_()
        loss = loss_module(x, y)
        loss.backward()
        finite(loss, x.grad, *loss_module.buffers())


@pytest.mark.parametrize("mode", ["dense", "tiled"])
@pytest.mark.parametrize("name", formula_names())
def test_a_zero_embedding_has_no_gradient(name, mode):
    """It has no direction to turn; dividing by a tiny norm would give one of 1e13."""
    head = frfw.create_classifier(name, 16, CLASSES, mode)
    x = torch.randn(3, 16).index_fill(0, torch.tensor([1]), 0).requires_grad_()
    head(x, torch.arange(3)).loss.backward()
    assert x.grad[0].abs().max() > 0
    if head.formula.geometry == "cosine":
        assert not x.grad[1].any()
