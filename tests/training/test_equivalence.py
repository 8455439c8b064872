"""One process = two processes = accumulation of two: the same mathematics everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from frfw.config import config_dir
from frfw.training import checkpoint

SCRIPT = Path(__file__).with_name("plain_run.py")
LOSSES = {
    "curricular": ["loss=curricular"],
    "adaface_ohem_triplet": ["loss=adaface", "weighting=ohem", "extra_loss=triplet"],
}


def run(folder: Path, blobs: Path, processes: int, overrides: list[str]) -> dict:
    """Train 20 steps and return the last checkpoint with the losses of all steps."""
    given = [
        f"data.path={blobs}", "data.workers=0", "trainer.device=cpu", "trainer.steps=20",
        "trainer.global_batch_size=24", "trainer.log_every=1", "trainer.embeddings=false",
        "trainer.threads=1", "trainer.check_data=false", "evaluation=[lfw]", "trainer.evaluate_every=1000",
        "augment=none", "optimizer.base_lr=0.02",
    ]  # fmt: skip
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[*given, *overrides])
    config = OmegaConf.to_container(cfg, resolve=True)
    config.pop("experiment", None)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    done = subprocess.run(
        [*launcher, str(SCRIPT), str(folder / "run"), str(folder / "config.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    content = checkpoint.load(folder / "run" / "checkpoints" / "last.pt")
    content["losses"] = [r["train/loss"] for r in map(json.loads, lines) if "train/loss" in r]
    return content


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-5 * float(a.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("loss", list(LOSSES))
def test_processes_and_accumulation_change_nothing(tmp_path, blobs, loss):
    one = run(tmp_path / "one", blobs, 1, LOSSES[loss])
    halves = ["trainer.micro_batch_size=12"]
    others = {
        "accumulated": run(tmp_path / "accumulated", blobs, 1, [*LOSSES[loss], *halves]),
        "two processes": run(tmp_path / "two", blobs, 2, LOSSES[loss]),
    }
    for name, other in others.items():
        assert len(other["losses"]) == len(one["losses"]) == 20
        if name == "accumulated":  # a process logs its own share; one process has all of it
            assert other["losses"] == pytest.approx(one["losses"], rel=1e-5), name
        for part in ("backbone", "head", "extra_loss"):
            for key, value in one[part].items():
                assert close(value, other[part][key]), (name, part, key)
