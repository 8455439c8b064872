"""Told to stop: during training, during an evaluation, through a launcher; and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from frfw.training import checkpoint

sys.path.insert(0, str(Path(__file__).parent))
import plain_config


def children(pid: int) -> list[int]:
    """Process numbers of the children of `pid`, oldest first (Linux)."""
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(condition, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def log_of(run: Path) -> str:
    return (run / "log.txt").read_text() if (run / "log.txt").exists() else ""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_signal_ends_a_long_evaluation_which_is_made_good(tmp_path, blobs, processes):
    run = tmp_path / "run"
    settings = ["trainer.evaluate_every=10", "trainer.checkpoint_every=1000"]
    config = plain_config.config_of(blobs, settings)
    config["evaluation"]["batch_size"] = 1  # 80 images twice, a second each: minutes
    process = subprocess.Popen(
        plain_config.command(run, config, processes), env=plain_config.environment(PLAIN_SLOW="1"),
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: "step 10/20" in log_of(run))
    time.sleep(3)  # now it evaluates
    target = process.pid if processes == 1 else children(process.pid)[-1]  # one rank alone is told
    started = time.monotonic()
    os.kill(target, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - started < 30
    assert process.returncode == (85 if processes == 1 else 1), said  # torchrun has its own code
    assert "evaluation abandoned" in log_of(run)
    kept = checkpoint.load(run / "checkpoints" / "last.pt")
    assert kept["counters"]["step"] == 10
    assert kept["counters"]["evaluation_owed"]
    config["resume"] = "auto"
    plain_config.run_to_end(run, config, 1)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if "val/lfw/accuracy" in r] == [10, 20]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "to_all"),
    [(signal.SIGTERM, False), (signal.SIGUSR1, True), (signal.SIGINT, True)],
)
def test_the_launcher_hands_a_signal_on_and_leaves_with_the_same_code(
    train, tmp_path, number, to_all
):
    """SIGTERM to the command alone; SIGUSR1 to all its processes (Slurm), Ctrl-C likewise."""
    process = subprocess.Popen(
        train.command("name=two", "trainer.devices=2", "trainer.steps=100000", "data.workers=1"),
        cwd=tmp_path, env=plain_config.environment(), start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    run = tmp_path / "runs" / "two"
    wait_for(lambda: "/100000" in log_of(run) or process.poll() is not None)
    time.sleep(1)
    os.killpg(process.pid, number) if to_all else process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 85, error
    assert "stopped by" in out
    assert (run / "checkpoints" / "last.pt").exists()


@pytest.mark.slow
def test_torchrun_starts_a_killed_run_again_and_it_resumes_by_itself(tmp_path, blobs):
    run = tmp_path / "run"
    config = plain_config.config_of(blobs, ["trainer.checkpoint_every=4", "evaluation=[]"])
    whole = plain_config.config_of(blobs, ["evaluation=[]"])
    plain_config.run_to_end(tmp_path / "whole", whole, 1)
    plain_config.run_to_end(run, config, 1, "--max-restarts=1", PLAIN_DIE_AT="11")
    assert "resumed from" in log_of(run)
    assert "at step 8" in log_of(run)
    one, two = (plain_config.outcome(p) for p in (tmp_path / "whole", run))
    assert one["losses"] == two["losses"]
    assert all((one["backbone"][k] == v).all() for k, v in two["backbone"].items())


def test_a_second_ctrl_c_leaves_at_once():
    code = """
import os, signal, time
from frfw.training.distributed import Ranks
from frfw.training.stopping import StopRequest
with StopRequest(Ranks()) as stop:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.agreed() == "SIGTERM"
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=60)
    assert done.returncode == 130
