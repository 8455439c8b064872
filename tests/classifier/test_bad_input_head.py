"""What a classifier refuses, and how it says so."""

from __future__ import annotations

import pytest
import torch

import frfw
from frfw.classifier.rows import class_range, initial_rows
from frfw.errors import FrfwError

X = torch.randn(4, 8)


@pytest.mark.parametrize("mode", ["dense", "tiled"])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, torch.tensor([0, -1, 2, 3]), "label -1 at position 1 .* outside the 20 classes"),
        (X, torch.tensor([0, 1, 2, 20]), "label 20 at position 3"),
        (X, torch.tensor([0.0, 1.0, 2.0, 3.0]), "labels must be dense int64"),
        (X.long(), torch.arange(4), "embeddings must be dense float16, .* embeddings.float"),
        (X, [0, 1, 2, 3], "labels must be a torch.Tensor"),
        (X.to(torch.float8_e5m2), torch.arange(4), "embeddings must be dense float16"),
        (X.to_sparse(), torch.arange(4), "embeddings must be dense float16"),
        (torch.tensor(1.0), torch.arange(4)[:, None], "4 labels for embeddings of width unknown"),
        (X.numpy(), torch.arange(4), "embeddings must be a torch.Tensor"),
        (X, torch.arange(4)[:, None], r"labels must be \(B,\): got 2 dimensions"),
        (X, torch.tensor(3), "1 labels"),
        (X * torch.tensor([[1.0], [1.0], [float("nan")], [1.0]]), torch.arange(4), "position 2"),
        (X, torch.arange(3), "3 labels"),
        (X[:, :5], torch.arange(4), "width 5"),
        (X[:0], torch.arange(0), "batch is empty"),
    ],
)
def test_batch(mode, x, y, message):
    head = frfw.create_classifier("curricular", 8, 20, mode)
    with pytest.raises(FrfwError, match=message):
        head(x, y)
    assert head.formula.t.item() == 0  # nothing moved


def test_infinities_are_told_from_nan_and_from_a_sum_that_overflows():
    head = frfw.create_classifier("curricular", 8, 20)
    x = X.clone()
    x[1] = 3e38
    assert not x[1].sum().isfinite()
    head(x, torch.arange(4))
    x[3, :2] = torch.tensor([float("inf"), -float("inf")])
    with pytest.raises(FrfwError, match="position 3 of the batch is infinite"):
        head(x, torch.arange(4))
    x[2, 0] = float("nan")
    with pytest.raises(FrfwError, match="position 2 of the batch is NaN"):
        head(x, torch.arange(4))
    assert head.formula.t.isfinite()


@pytest.mark.parametrize("mode", ["dense", "tiled"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_head_in_half_precision_is_refused(mode, dtype):
    head = frfw.create_classifier("curricular", 8, 20, mode).to(dtype)
    with pytest.raises(FrfwError, match="keep it in float32"):
        head(X.to(dtype), torch.arange(4))


def test_nan_passes_where_a_gradient_scaler_deals_with_it():
    head = frfw.create_classifier("arcface", 8, 20)
    head.check_finite = False
    assert head(X * float("nan"), torch.arange(4)).loss.isnan()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "tild"}, "Did you mean 'tiled'"),
        ({"loss": "arcfase"}, "arcface"),
        ({"marginn": 0.5}, "no parameter"),
        ({"memory_budgt": 0}, "no parameter 'memory_budgt'.*Did you mean 'memory_budget'"),
        ({"parallel": "sampled", "sample_rate": 0.0, "mode": "tiled"}, "above 0"),
        ({"parallel": "sampled", "sample_rate": 1.5, "mode": "tiled"}, "up to 1"),
        ({"sample_rate": 0.5, "mode": "tiled"}, "parallel=sampled"),
        ({"parallel": "sharded", "mode": "dense"}, "mode=tiled"),
        ({"precision": "fp8"}, "no such choice"),
        ({"memory_budget": "lots"}, "amount of memory"),
        ({"memory_budget": "-1GB"}, "amount of memory"),
        ({"classes": 0}, "classes=0: give a whole number from 1 on"),
        ({"classes": "many"}, "classes=many: give a whole number"),
        ({"classes": None}, "classes=None: give a whole number"),
        ({"classes": 2.5}, "classes=2.5: give a whole number"),
        ({"dim": True}, "dim=True: give a whole number"),
        ({"sample_rate": "half"}, "classifier.sample_rate=half: give a rate above 0 and up to 1"),
        ({"sample_rate": float("nan")}, "sample_rate=nan: give a rate"),
        ({"compile": "maybe"}, "choose true, false or auto"),
        ({"fused_update": "off"}, "classifier.fused_update=off: choose true or false"),
        ({"fused_update": None}, "classifier.fused_update=None: choose true or false"),
        ({"seed": "a"}, "seed=a: give a whole number from 0 on"),
        ({"seed": 1.5}, "seed=1.5: give a whole number"),
        ({"memory_budget": "lots"}, "classifier.memory_budget: 'lots'"),
        ({"mode": "dense", "memory_budget": 0}, "memory_budget and compile=true need"),
        ({"mode": "dense", "compile": True}, "memory_budget and compile=true need"),
    ],
)
def test_options(options, message):
    options = {"loss": "arcface", "dim": 8, "classes": 20, **options}
    with pytest.raises(FrfwError, match=message):
        frfw.create_classifier(**options)


@pytest.mark.parametrize("options", [{}, {"memory_budget": 0}, {"compile": True}])
def test_auto_is_tiled_where_something_asks_for_tiles(options):
    head = frfw.create_classifier("arcface", 8, 20, "auto", **options)
    assert head.settings.mode == ("tiled" if options else "dense")


def test_ranges_cover_all_classes_or_are_refused():
    for classes in range(2, 40):
        for world in range(1, 12):
            try:
                ranges = [class_range(classes, rank, world) for rank in range(world)]
            except FrfwError as error:
                assert "processes" in str(error)
                assert -(-classes // world) * (world - 1) >= classes
                continue
            assert [i for start, stop in ranges for i in range(start, stop)] == list(range(classes))
            assert all(stop > start for start, stop in ranges)


def test_more_processes_than_classes():
    with pytest.raises(FrfwError, match="Use at most 3 processes"):
        class_range(3, 0, 5)


def test_initial_rows_do_not_depend_on_the_range():
    whole = initial_rows(0, 3000, 4, seed=1)
    assert torch.equal(initial_rows(1000, 2500, 4, seed=1), whole[1000:2500])
    assert not torch.equal(initial_rows(0, 9, 4, seed=2), whole[:9])
    assert abs(whole.std() - 0.01) < 5e-4
    assert len(whole.unique(dim=0)) == 3000


def test_fused_update_refusals():
    head = frfw.create_classifier("arcface", 8, 20, "tiled", fused_update=True)
    with pytest.raises(FrfwError, match="attach"):
        head(X, torch.arange(4))
    with pytest.raises(FrfwError, match="not AdamW"):
        head.attach(torch.optim.AdamW(head.parameters()))
    with pytest.raises(FrfwError, match="does not hold"):
        head.attach(torch.optim.SGD([torch.nn.Parameter(torch.zeros(3))], lr=0.1))
    with pytest.raises(FrfwError, match="clipping and gradient accumulation"):
        head.check_training(clip_norm=5.0, accumulation=2)
    head.check_training()


def test_checkpoint_of_other_classes():
    head = frfw.create_classifier("arcface", 8, 20)
    with pytest.raises(FrfwError, match="30 centres, this one 20"):
        head.load_logical_state(frfw.create_classifier("arcface", 8, 30).logical_state())
