"""The tracker writes what it is told, once, in every form, and only where it is enabled."""

from __future__ import annotations

import json
import logging
import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from frfw.tracking import Tracker
from frfw.tracking.runs import read_metrics
from frfw.tracking.tracker import to_floats


def lines(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def events(run_dir, **sizes):
    accumulator = EventAccumulator(str(run_dir / "tensorboard"), size_guidance=sizes)
    accumulator.Reload()
    return accumulator


def test_one_line_a_call_on_disk_at_once(tmp_path):
    tracker = Tracker(tmp_path)
    shown = tracker.scalars(10, {"train/loss": torch.tensor(1.5), "train/lr": 0.1})
    assert shown == {"train/loss": 1.5, "train/lr": 0.1}
    (line,) = lines(tmp_path)  # read before the tracker is closed
    assert line["step"] == 10
    assert line["train/loss"] == 1.5
    assert line["time"] >= 0
    tracker.close()
    tracker.close()
    (event,) = events(tmp_path).Scalars("train/loss")
    assert (event.step, event.value) == (10, 1.5)


def test_numbers_json_lacks_survive(tmp_path):
    with Tracker(tmp_path) as tracker:
        tracker.scalars(1, {"a": float("nan"), "b": torch.tensor(float("-inf"))})
    strict = json.loads(
        (tmp_path / "metrics.jsonl").read_text(), parse_constant=lambda c: pytest.fail(c)
    )
    assert strict["a"] == "nan"
    curves = read_metrics(tmp_path / "metrics.jsonl")
    assert math.isnan(curves["a"].last)
    assert curves["b"].last == -math.inf


def test_tensors_are_fetched_together(monkeypatch):
    calls = []
    fetch = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: calls.append(1) or fetch(self))
    monkeypatch.setattr(torch.Tensor, "item", lambda self: pytest.fail("one by one"))
    values = {"a": torch.tensor(2.0), "b": torch.tensor([3], dtype=torch.int32), "c": 4}
    assert to_floats(values) == {"a": 2.0, "b": 3.0, "c": 4.0}
    assert len(calls) == 1


def test_disabled_writes_nothing(tmp_path):
    tracker = Tracker(tmp_path / "run", {}, enabled=False)
    assert tracker.scalars(1, {"a": 1.0}) == {}
    tracker.message("hello")
    tracker.figure(1, "f", Figure())
    tracker.embedding(1, "e", np.zeros((2, 4)), [0, 1])
    tracker.finish({}, {})
    tracker.flush()
    tracker.close()
    assert not (tmp_path / "run").exists()


def test_messages_and_warnings_of_the_package_reach_log_and_terminal_once(tmp_path, capsys):
    root = logging.StreamHandler()  # as Hydra configures it
    logging.getLogger().addHandler(root)
    try:
        with Tracker(tmp_path) as tracker:
            tracker.message("training starts")
            tracker.message("only in the file", console=False)
            logging.getLogger("frfw.data").warning("a set is missing")
    finally:
        logging.getLogger().removeHandler(root)
    printed = capsys.readouterr()
    assert printed.out == "training starts\nwarning: a set is missing\n"
    assert printed.err == ""
    text = (tmp_path / "log.txt").read_text()
    assert [line.split(" ", 2)[2] for line in text.splitlines()] == [
        "INFO training starts",
        "INFO only in the file",
        "WARNING a set is missing",
    ]
    assert logging.getLogger("frfw").handlers == []
    assert logging.getLogger("frfw").propagate


def test_resumed_run_drops_what_it_will_write_again_and_goes_on_in_time(tmp_path):
    with Tracker(tmp_path) as tracker:
        for step in (10, 20, 30):
            tracker.scalars(step, {"train/loss": float(step)})
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 40, "time": 99')  # killed in mid-write
    with Tracker(tmp_path, start_step=20) as tracker:
        assert [line["step"] for line in lines(tmp_path)] == [10, 20]
        tracker.scalars(30, {"train/loss": -30.0})
        tracker.scalars(40, {"train/loss": -40.0})
    curve = read_metrics(path)["train/loss"]
    assert curve.steps.tolist() == [10, 20, 30, 40]
    assert curve.values.tolist() == [10, 20, -30, -40]
    assert (np.diff(curve.seconds) >= 0).all()
    found = events(tmp_path).Scalars("train/loss")
    assert [(e.step, e.value) for e in found] == [(10, 10), (20, 20), (30, -30), (40, -40)]


def test_readers_pass_over_a_cut_line_and_take_the_later_of_two(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "a": 1}\n{"step": 2, "a": 2}\n{"step": 2, "a": 3}\n{"step": 3, "a')
    assert read_metrics(path)["a"].values.tolist() == [1, 3]


def test_figures_hparams_and_projector(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 112, 112, 3), dtype=np.uint8)
    figure = Figure()
    figure.subplots().plot([1, 2])
    with Tracker(tmp_path, {"seed": 1}) as tracker:
        tracker.figure(5, "roc/lfw", figure)
        tracker.embedding(5, "faces", torch.randn(6, 16), list("aabbcc"), images)
        tracker.finish({"loss": "arcface", "loss.m": 0.5, "clip": None}, {"lfw/accuracy": 0.9})
    found = events(tmp_path, images=1)
    assert found.Tags()["images"] == ["roc/lfw"]
    assert found.Scalars("final/lfw/accuracy")[0].value == pytest.approx(0.9)
    plugins = found.summary_metadata
    assert any(m.plugin_data.plugin_name == "hparams" for m in plugins.values())
    board = tmp_path / "tensorboard"
    assert [p.name for p in board.iterdir() if p.is_dir()] == ["00005"]  # no second run for HParams
    assert "faces" in (board / "projector_config.pbtxt").read_text()
    assert len(list(board.rglob("sprite.png"))) == 1


def test_projector_says_what_does_not_fit(tmp_path):
    with Tracker(tmp_path) as tracker, pytest.raises(ValueError, match="3 embeddings, 2 labels"):
        tracker.embedding(1, "faces", np.zeros((3, 4)), [0, 1])
