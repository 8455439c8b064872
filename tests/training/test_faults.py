"""Steps that are not finite: skipped, explained in a file, then back to a good checkpoint or out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from frfw.errors import FrfwError
from frfw.training import checkpoint
from frfw.training.layer_values import plain, watched

sys.path.insert(0, str(Path(__file__).parent))
import plain_config
import plain_run


@pytest.fixture
def train(blobs, tmp_path):
    """Train a network of two layers in this process; returns the run folder."""

    def go(*overrides: str) -> Path:
        given = [
            "trainer.global_batch_size=12",
            "trainer.log_every=4",
            "trainer.checkpoint_every=3",
        ]
        plain_run.train(tmp_path / "run", plain_config.config_of(blobs, [*given, *overrides]))
        return tmp_path / "run"

    return go


FAR_TOO_HIGH = ["resume=auto", "optimizer.base_lr=1e30", "trainer.non_finite_limit=3"]


def test_too_many_bad_steps_end_the_run_with_what_is_known(train, tmp_path):
    train("trainer.steps=3")
    with pytest.raises(FrfwError, match=r"3 steps in a row were not finite.*learning rate"):
        train(*FAR_TOO_HIGH, "trainer.steps=30")
    files = sorted((tmp_path / "run").glob("non_finite_step_*.json"))
    first = json.loads(files[0].read_text())
    step = first["looked_at_step"]
    assert first["skipped_steps"] == [step]
    assert len(first["samples"][str(step)]) == 12
    assert first["first_not_finite"] in first["largest_activations"]
    assert set(first["largest_activations"]) == {f"layers.{i}" for i in range(4)}
    assert {"backbone.layers.1.weight", "head.weight"} <= set(first["largest_gradients"])
    assert first["largest_weights"]["backbone.layers.1.weight"] > 1e20
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "diverged"
    # Looking again moves nothing: the last good weights are what the checkpoint holds.
    kept = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.pt")
    assert kept["counters"]["step"] == 3


def test_rollback_goes_back_to_the_last_good_checkpoint_at_a_lower_rate(train, capsys):
    train("trainer.steps=3")
    run = train(*FAR_TOO_HIGH, "trainer.rollback_factor=1e-31", "trainer.steps=30")
    out = capsys.readouterr().out
    assert "step_3.pt" in out or "last.pt (step 3)" in out
    assert "learning rate times 1e-31" in out
    end = checkpoint.load(run / "checkpoints" / "last.pt")
    assert (end["counters"]["step"], end["counters"]["skipped"]) == (30, 0)
    assert end["counters"]["lr_factor"] == 1e-31
    assert all(bool(torch.isfinite(v).all()) for v in end["backbone"].values())
    again = train("resume=auto", "optimizer.base_lr=1e30", "trainer.steps=33")  # the factor stays
    assert checkpoint.load(again / "checkpoints" / "last.pt")["counters"]["skipped"] == 0


def test_rollbacks_that_do_not_help_end_the_run(train, capsys):
    train("trainer.steps=3")
    with pytest.raises(FrfwError, match=r"back to step 3 3 times, down to 0.001 .*names them"):
        train(*FAR_TOO_HIGH, "trainer.rollback_factor=0.1", "trainer.steps=30")
    assert capsys.readouterr().out.count("learning rate times 0.1") == 3


def test_a_loss_that_is_not_finite_is_enough(train, monkeypatch):
    """Its gradient may be finite: an infinite constant has none."""
    from frfw.training.model import FaceModel

    real, calls = FaceModel.loss, []

    def loss(self, embeddings, labels):
        value = real(self, embeddings, labels)
        calls.append(1)
        if len(calls) == 5:
            value.total = value.total + float("inf")
        return value

    monkeypatch.setattr(FaceModel, "loss", loss)
    run = train("trainer.steps=8")
    assert checkpoint.load(run / "checkpoints" / "last.pt")["counters"]["skipped"] == 1


def test_a_bad_batch_is_skipped_and_its_samples_named(train, monkeypatch):
    from frfw.training.model import FaceModel

    real, calls = FaceModel.loss, []

    def loss(self, embeddings, labels):
        calls.append(labels.tolist())
        value = real(self, embeddings, labels)
        if len(calls) == 5:
            value.total = value.total * float("nan")
        return value

    monkeypatch.setattr(FaceModel, "loss", loss)
    run = train("trainer.steps=8")
    (file,) = run.glob("non_finite_step_*.json")
    content = json.loads(file.read_text())
    assert content["skipped_steps"] == [5]
    assert content["first_not_finite"] is None  # nothing wrong in it when run again
    assert all(isinstance(v, float) for v in content["largest_gradients"].values())
    assert checkpoint.load(run / "checkpoints" / "last.pt")["counters"]["skipped"] == 1
    assert len(content["samples"]["5"]) == len(calls[4]) == 12


def test_layers_are_recorded_with_nan_and_words_for_json():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
    with watched(module) as found:
        module(torch.tensor([[float("nan"), 1.0]]))
        module(torch.ones(1, 2))
    assert list(found) == ["0", "1"]
    assert plain({"a": found["0"], 5: [float("inf"), 1]}) == {"a": "nan", "5": ["inf", 1]}
