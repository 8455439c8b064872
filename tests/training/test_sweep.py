import json

import pytest

from frfw.errors import FrfwError
from frfw.training import search, sweep
from frfw.training.run_folder import RunFolder


def test_swept_keys_and_names(monkeypatch):
    overrides = ["loss=arcface,curricular", "loss.m=0.3,0.5", "trainer.steps=2"]
    keys = sweep.swept_keys(overrides)
    assert keys == ["loss", "loss.m"]
    monkeypatch.setenv(sweep.SWEPT, json.dumps(keys))
    assert (
        sweep.job_name(["loss=arcface", "loss.m=0.3", "trainer.steps=2"])
        == "loss=arcface,loss.m=0.3"
    )
    long = sweep.job_name([f"loss=a{'b' * 300}", "loss.m=0.3"])
    assert len(long) <= 120


def test_collect_and_csv(tmp_path, monkeypatch):
    monkeypatch.setenv(sweep.SWEPT, json.dumps(["loss.m"]))
    for m, status in (("0.3", "finished"), ("0.7", "diverged")):
        run = RunFolder(tmp_path / f"loss.m={m}")
        run.create({}, [f"loss.m={m}"], resuming=False)
        run.write_result({"status": status, "metrics": {"lfw": {"accuracy": 0.9}}, "minutes": 1.0})
    rows = sweep.collect(tmp_path)
    assert [(r["loss.m"], r["status"], r["lfw"]) for r in rows] == [
        ("0.3", "finished", 0.9),
        ("0.7", "diverged", 0.9),
    ]
    sweep.write_csv(rows, tmp_path / "sweep.csv")
    assert (tmp_path / "sweep.csv").read_text().splitlines()[
        0
    ] == "job,status,loss.m,lfw,minutes,error"


def test_search_space():
    space = search.read_space(["loss=choice(arcface,curricular)", "loss.m=interval(0.2,0.7)"])
    assert [key for key, _ in space] == ["loss", "loss.m"]

    class Trial:
        def suggest_categorical(self, key, options):
            return options[-1]

        def suggest_float(self, key, low, high, log):
            return (low, high, log)

    assert search.suggest(Trial(), *space[0]) == "curricular"
    assert search.suggest(Trial(), *space[1]) == (0.2, 0.7, False)
    with pytest.raises(FrfwError, match="has one value"):
        search.read_space(["loss.m=0.3"])
    with pytest.raises(FrfwError, match="names nothing"):
        search.read_space([])


def test_search_reads_evaluations(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert search.evaluations(path, "mean") == []
    path.write_text(
        '{"step": 1, "val/a/accuracy": 0.5, "val/b/accuracy": 0.7}\n{"step": 2, "train/loss": 1}\n{"st'
    )
    assert search.evaluations(path, "mean") == [pytest.approx(0.6)]
    assert search.evaluations(path, "b") == [0.7]
