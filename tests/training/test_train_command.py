"""`python -m frfw.train` as a user types it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from frfw.training import checkpoint


def error_line(done) -> str:
    """The one line that a refusal prints; no traceback, exit code 1."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def same_weights(a: Path, b: Path) -> bool:
    one, two = (checkpoint.load(p / "checkpoints" / "last.pt") for p in (a, b))
    return all(
        torch.equal(one[part][k], two[part][k]) for part in ("backbone", "head") for k in one[part]
    )


def test_help_explains_groups_and_keys(train):
    done = train("--help", tiny=False)
    assert done.returncode == 0
    for word in ("loss: ", "backbone: ", "curricular", "trainer.devices", "resume=auto"):
        assert word in done.stdout


def test_cfg_shows_the_composed_config(train):
    done = train("--cfg", "job", "loss.m=0.4")  # flags stand anywhere
    config = yaml.safe_load(done.stdout)
    assert config["loss"]["m"] == 0.4
    assert config["backbone"]["name"] == "mobilefacenet"


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("loss=arcfase", "Did you mean 'arcface'"),
        ("loss.margn=0.3", "unknown key 'loss.margn'"),
        ("trainer.epoch=3", "Did you mean 'trainer.epochs'"),
        ("optimiser=adamw", "Did you mean 'optimizer'"),
        ("trainer.device=cuda", "no CUDA device"),
        ("trainer.precision=fp8", "Choices: fp32, bf16, fp16"),
        ("trainer.global_batch_size=0", "must be above 0"),
        ("classifier.fused_update=off", "write classifier.fused_update=true or "),
        ("resume=nowhere", "no run folder there"),
        ("init_from=nowhere.pt", "nowhere.pt"),
    ],
)
def test_bad_input_is_one_line(train, tmp_path, argument, hint):
    if argument.startswith("trainer.device") and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert hint in error_line(train(argument, "name=x"))
    assert not list(tmp_path.glob("runs/x/checkpoints/*.pt"))


def test_a_run_leaves_what_it_should_and_is_not_overwritten(train, tmp_path):
    done = train("name=one", "trainer.embeddings=true")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "one"
    names = {p.name for p in run.iterdir()}
    assert names >= {
        "config.yaml", "environment.json", "log.txt", "metrics.jsonl", "tensorboard",
        "checkpoints", "evaluation", "report.html", "result.json",
    }  # fmt: skip
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"train/loss", "head/t", "head/M_mean", "head/hard_share"} <= set(lines[0])
    assert "val/lfw/accuracy" in lines[-1]
    assert json.loads((run / "result.json").read_text())["status"] == "finished"
    board = EventAccumulator(str(run / "tensorboard")).Reload()
    assert {"roc", "histogram/lfw", "worst/lfw"} <= set(board.Tags()["images"])
    intervals = json.loads((run / "evaluation" / "lfw.json").read_text())["intervals"]
    assert intervals["accuracy"][0] < intervals["accuracy"][1]
    before = (run / "metrics.jsonl").read_bytes()
    assert "exists already" in error_line(train("name=one"))
    assert (run / "metrics.jsonl").read_bytes() == before


@pytest.mark.slow
def test_kill_and_resume_equals_an_undisturbed_run(train, tmp_path):
    steps = ["trainer.steps=12", "trainer.checkpoint_every=3"]
    assert train("name=whole", *steps).returncode == 0
    assert train("name=cut", *steps, "trainer.dry_run=true").returncode == 0
    process = subprocess.Popen(
        train.command("name=cut", *steps, "resume=auto"), cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    folder = tmp_path / "runs" / "cut" / "checkpoints"
    deadline = time.monotonic() + 120
    while not (folder / "last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = train("name=cut", *steps, "resume=auto", "data.workers=1")
    assert done.returncode == 0, done.stderr
    assert "resumed from" in done.stdout
    assert same_weights(tmp_path / "runs" / "whole", tmp_path / "runs" / "cut")


@pytest.mark.slow
def test_sigterm_saves_and_leaves_with_its_own_code(train, tmp_path):
    steps = ["trainer.steps=100000", "trainer.checkpoint_every=100000"]
    process = subprocess.Popen(
        train.command("name=stop", *steps), cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    metrics = tmp_path / "runs" / "stop" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 85, out
    assert "stopped by SIGTERM" in out
    assert (tmp_path / "runs" / "stop" / "checkpoints" / "last.pt").exists()


@pytest.mark.slow
def test_batches_hold_whole_groups(train):
    groups = ["data.sampler.name=pk", "+data.sampler.p=4"]
    expected = "trainer.global_batch_size=12 is no multiple of data.sampler.p * data.sampler.k = "
    assert expected + "4 * 2" in error_line(train(*groups, "+data.sampler.k=2"))
    done = train(*groups, "+data.sampler.k=3")
    assert done.returncode == 0, done.stderr


def test_a_mixture_needs_no_path_of_its_own(train, blobs, tmp_path):
    sources = f"data.sources=[{blobs},{blobs}]"
    done = train(*train.settings, "data=mixture", sources, "name=mixed", tiny=False)
    assert done.returncode == 0, done.stderr
    assert "96 images of 16 identities" in done.stdout
    assert "verification lfw" in done.stdout
    assert "error: data.path is not set" in error_line(train("data=folder", tiny=False))


@pytest.mark.parametrize("first", ["sampled", "replicated"])
def test_a_run_goes_on_with_and_without_sampled_classes(train, tmp_path, first):
    how = {
        "sampled": ["classifier.parallel=sampled", "classifier.sample_rate=0.5"],
        "replicated": ["classifier.parallel=replicated", "classifier.sample_rate=1"],
    }
    second = "replicated" if first == "sampled" else "sampled"
    done = train("name=x", *how[first])
    assert done.returncode == 0, done.stderr
    done = train("resume=runs/x", "trainer.steps=8", *how[second])
    assert done.returncode == 0, done.stderr
    assert "step 8/8" in done.stdout
    done = train("name=y", "init_from=runs/x", *how[first])
    assert done.returncode == 0, done.stderr


def test_two_processes_write_one_run_folder(train, tmp_path):
    done = train("name=two", "trainer.devices=2", "trainer.ema=0.9")
    assert done.returncode == 0, done.stderr
    assert "6 x 2 processes" in done.stdout
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["two"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    again = subprocess.run(
        [*torchrun, *train.command("name=run", "trainer.ema=0.9")[1:]], cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert same_weights(tmp_path / "runs" / "two", tmp_path / "runs" / "run")
    last = checkpoint.load(tmp_path / "runs" / "two" / "checkpoints" / "last.pt")
    statistics = [k for k in last["backbone"] if "running_" in k]
    assert statistics
    for key in statistics:  # averaged over the ranks, in the averaged weights as well
        assert torch.equal(last["ema"][key], last["backbone"][key])
        own = torch.stack([each[key] for each in last["rank_statistics"]])
        assert torch.allclose(own.mean(0), last["backbone"][key], rtol=1e-5)


@pytest.mark.slow
def test_a_sweep_has_a_folder_a_job_and_a_table(train, tmp_path):
    given = ["loss=arcface,curricular", "loss.m=0.3,0.5", "hydra.sweep.dir=sweeps/margins"]
    done = train(given[0], "-m", *given[1:], "trainer.steps=2")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "sweeps" / "margins"
    rows = list(csv.DictReader(open(folder / "sweep.csv")))
    assert {(r["loss"], r["loss.m"]) for r in rows} == {
        ("arcface", "0.3"), ("arcface", "0.5"), ("curricular", "0.3"), ("curricular", "0.5"),
    }  # fmt: skip
    assert all(r["status"] == "finished" and float(r["lfw"]) > 0 for r in rows)
    again = train(*given, "trainer.steps=2", "-m")
    assert again.stdout.count("finished before, not repeated") == 4
    other = train(*given, "trainer.steps=3", "trainer.log_every=2", "-m")
    assert other.returncode == 1
    assert "other values of trainer.steps (2 then, 3 now)" in other.stderr
    assert "log_every" not in other.stderr


@pytest.mark.slow
def test_a_diverged_job_does_not_end_the_sweep(train, tmp_path):
    done = train("-m", "optimizer.base_lr=1e30,0.01", "hydra.sweep.dir=sweeps/d",
                 "trainer.non_finite_limit=2", "trainer.steps=8")  # fmt: skip
    assert done.returncode == 1
    assert "1 job(s) did not finish: optimizer.base_lr=1e+30" in done.stderr
    folder = tmp_path / "sweeps" / "d"
    rows = list(csv.DictReader(open(folder / "sweep.csv")))
    assert [r["status"] for r in sorted(rows, key=lambda r: r["job"])] == ["finished", "diverged"]
    assert "diverged" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_a_failed_job_does_not_end_the_sweep(train, tmp_path):
    done = train(
        "trainer.global_batch_size=12,0", "hydra.sweep.dir=sweeps/f", "trainer.steps=1", "-m"
    )
    assert done.returncode == 1
    rows = list(csv.DictReader(open(tmp_path / "sweeps" / "f" / "sweep.csv")))
    assert sorted(r["status"] for r in rows) == ["failed", "finished"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains(train, precision):
    done = train(f"trainer.precision={precision}", "name=half", "trainer.ema=0.9")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_bad_image_does_not_cost_the_run_its_end(train, tmp_path):
    """Default settings, one image of 49 cut off: the projector leaves it out."""
    data = tmp_path / "faces"
    for identity in range(7):
        for number in range(7):
            path = data / f"p{identity}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = np.full((32, 32, 3), 30 * identity + number, np.uint8)
            path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    (data / "p0" / "0.png").write_bytes(b"")
    done = train("data=folder", f"data.path={data}", "data.size=32", "evaluation=[]", "name=a",
                 "trainer.embeddings=true", "data.bad_limit=0.1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "a" / "result.json").is_file()


@pytest.mark.slow
def test_names_and_folders_of_runs(train, tmp_path):
    """A dry run leaves its name free; a refused resume leaves the run's config as it is."""
    assert train("name=a", "trainer.dry_run=true").returncode == 0
    assert train("name=a").returncode == 0
    config = (tmp_path / "runs" / "a" / "config.yaml").read_text()
    refused = train("name=a", "resume=auto", "loss=arcface")
    assert refused.returncode == 1
    assert "other values of loss" in refused.stderr
    assert (tmp_path / "runs" / "a" / "config.yaml").read_text() == config
    nameless = train("resume=auto")
    assert nameless.returncode == 1
    assert "which run? Add name=NAME" in nameless.stderr


@pytest.mark.slow
def test_the_warm_up_of_the_margin_is_a_key_of_the_loss_too(train, tmp_path):
    done = train("name=a", "loss.warmup=0.5", "loss.warmup_m=0.1")
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load((tmp_path / "runs" / "a" / "config.yaml").read_text())
    assert (config["finetune"]["warmup"], config["finetune"]["warmup_m"]) == (0.5, 0.1)
