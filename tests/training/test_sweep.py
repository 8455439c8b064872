import contextlib
import csv
import json
import subprocess
import sys
import time
from pathlib import Path

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
    assert search.evaluations(path, "mean") == [(1, pytest.approx(0.6))]
    assert search.evaluations(path, "b") == [(1, 0.7)]
    assert search.evaluations(path, "b/accuracy") == [(1, 0.7)]


def test_what_a_search_makes_large():
    figures = {"lfw/accuracy": 0.8, "cfp/accuracy": 0.6, "lfw/auc": 0.9, "s/rank_1": 0.3}
    assert search.score(figures, "mean") == pytest.approx(0.7)  # the pairs; searches stay out
    assert search.score({"s/rank_1": 0.3, "t/rank_1": 0.5}, "mean") == pytest.approx(0.4)
    assert search.score(figures, "s") == 0.3
    assert search.score(figures, "lfw/auc") == 0.9
    assert search.score(figures, "lwf") is None


def run_search(train, folder):
    given = ["trainer.steps=40", "trainer.evaluate_every=20", "trainer.checkpoint_every=5"]
    fixed = ",".join(f'"{a}"' for a in train.command(*given)[3:])
    command = [
        *(sys.executable, "-m", "frfw.search", 'space=["loss.m=interval(0.2,0.6)"]'),
        *(f"fixed=[{fixed}]", f"folder={folder}", "trials=1"),
    ]
    return subprocess.Popen(
        command, cwd=train.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on(train, tmp_path):
    pytest.importorskip("optuna")
    folder = tmp_path / "study"
    first = run_search(train, folder)
    checkpoints = folder / "trial_000" / "checkpoints"
    wait_for(lambda: first.poll() is not None or any(checkpoints.glob("step_*.pt")))
    first.kill()
    first.communicate()
    wait_for(lambda: b"frfw.train" not in running(folder))  # its trial ends with it
    second = run_search(train, folder)
    said, errors = second.communicate(timeout=240)
    assert second.returncode == 0, errors
    assert "best: trial_000, " in said
    assert "resumed from" in (folder / "trial_000" / "log.txt").read_text()
    rows = list(csv.DictReader(open(folder / "sweep.csv")))
    assert [(r["job"], r["status"]) for r in rows] == [("trial_000", "finished")]
    assert (folder / "report.html").is_file()


def study(folder, monkeypatch, train, **options):
    """A search whose trainings are what `train` says."""
    pytest.importorskip("optuna")
    monkeypatch.setenv(sweep.SWEPT, "[]")
    monkeypatch.setattr(search.Search, "_train", train)
    defaults = {"space": ["loss.m=interval(0.2,0.6)"], "fixed": [], "trials": 9, "metric": "mean",
                "seed": 1, "prune": True, "prune_after": 4}  # fmt: skip
    return search.Search(defaults | options, folder)


def test_a_search_in_which_nothing_works_ends(tmp_path, monkeypatch):
    broken = study(tmp_path, monkeypatch, lambda *_: (False, "boom"))
    with pytest.raises(FrfwError, match="5 trials in a row failed, the last one: boom"):
        broken.run()
    assert (tmp_path / "sweep.csv").is_file()  # what there is, is shown all the same


def test_a_search_goes_on_over_trials_that_diverge(tmp_path, monkeypatch):
    def diverge_but_for_the_last(self, trial, run, overrides):
        run.create({}, overrides, resuming=False)
        if trial.number < 6:
            run.write_result({"status": "diverged", "error": "20 steps in a row", "metrics": {}})
            return False, "20 steps in a row"
        run.write_result({"status": "finished", "metrics": {"lfw": {"accuracy": 0.7}}})
        return False, ""

    study(tmp_path, monkeypatch, diverge_but_for_the_last, trials=7).run()
    rows = list(csv.DictReader(open(tmp_path / "sweep.csv")))
    assert [r["status"] for r in rows] == ["diverged"] * 6 + ["finished"]


_WRITER = """
import json, sys, time
for step, value in enumerate(json.loads(sys.argv[2]), 1):
    print(json.dumps({"step": step, "val/lfw/accuracy": value}), file=open(sys.argv[1], "a"))
    time.sleep(0.4)
time.sleep(float(sys.argv[3]))
"""


def test_a_bad_trial_is_pruned_but_not_at_its_last_evaluation(tmp_path, monkeypatch):
    curves = [[0.8, 0.9, 0.9], [0.5], [0.85, 0.91, 0.3]]
    monkeypatch.setattr(search, "_POLL_S", 0.05)

    def train(self, trial, run, overrides):
        run.create({}, overrides, resuming=False)
        (run.path / "environment.json").write_text('{"steps": 3}')
        curve = curves[trial.number]
        asleep = 0 if len(curve) == 3 else 60  # nobody waits for the one that does badly
        words = [str(run.path / "metrics.jsonl"), json.dumps(curve), str(asleep)]
        process = subprocess.Popen([sys.executable, "-c", _WRITER, *words])
        pruned = self._watch(trial, run, process)
        process.wait()
        if not pruned:
            metrics = {"lfw": {"accuracy": curve[-1]}}
            run.write_result({"status": "finished", "metrics": metrics})
        return pruned, ""

    started = time.monotonic()
    study(tmp_path, monkeypatch, train, trials=3, prune_after=1).run()
    assert time.monotonic() - started < 50
    rows = list(csv.DictReader(open(tmp_path / "sweep.csv")))
    assert [r["status"] for r in rows] == ["finished", "pruned", "finished"]


def test_a_search_asks_for_other_values_after_a_restart(tmp_path, monkeypatch):
    def succeed(self, trial, run, overrides):
        run.create({}, overrides, resuming=False)
        run.write_result({"status": "finished", "metrics": {"lfw": {"accuracy": 0.7, "auc": 0.8}}})
        return False, ""

    for trials in (2, 2, 4):
        study(tmp_path, monkeypatch, succeed, trials=trials).run()
    rows = list(csv.DictReader(open(tmp_path / "sweep.csv")))
    assert [r["job"] for r in rows] == [f"trial_00{i}" for i in range(4)]
    assert len({r["loss.m"] for r in rows}) == 4
    with pytest.raises(FrfwError, match=r"metric=lwf: .* no such figure. Did you mean 'lfw'"):
        study(tmp_path / "other", monkeypatch, succeed, metric="lwf").run()


@pytest.mark.slow
def test_jobs_side_by_side_with_workers_of_their_own(train, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    given = [
        "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "trainer.devices=2",
        "trainer.steps=2", "trainer.global_batch_size=12,0", "hydra.sweep.dir=sweeps/j",
    ]  # fmt: skip
    done = train(*given)
    assert done.returncode == 1
    assert "1 job(s) did not finish: trainer.global_batch_size=0" in done.stderr
    rows = list(csv.DictReader(open(tmp_path / "sweeps" / "j" / "sweep.csv")))
    assert sorted(r["status"] for r in rows) == ["failed", "finished"]
    folder = tmp_path / "sweeps" / "j" / "trainer.global_batch_size=12"
    assert "(2 process(es))" in (folder / "log.txt").read_text()
    assert (folder / "report.html").is_file()


def wait_for(condition, seconds=200):
    for _ in range(seconds * 5):
        if condition():
            return
        time.sleep(0.2)
    raise AssertionError("it did not come to pass")


def running(folder):
    """The command lines of processes that name `folder`."""
    found = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes()
            found += words if str(folder).encode() in words else b""
    return found
