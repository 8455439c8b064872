"""Not a test: configs for plain_run.py, and running it in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from frfw.config import config_dir
from frfw.training import checkpoint

SCRIPT = Path(__file__).with_name("plain_run.py")
GIVEN = [
    "data.workers=0", "trainer.device=cpu", "trainer.steps=20", "trainer.global_batch_size=24",
    "trainer.log_every=1", "trainer.embeddings=false", "trainer.threads=1",
    "trainer.check_data=false", "evaluation=[lfw]", "trainer.evaluate_every=1000", "augment=none",
    "optimizer.base_lr=0.02", "trainer.report=false",
]  # fmt: skip


def config_of(blobs: Path, overrides: list[str]) -> dict[str, Any]:
    """The resolved config of a small run on the blobs."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[*GIVEN, f"data.path={blobs}", *overrides])
    config = OmegaConf.to_container(cfg, resolve=True)
    config.pop("experiment", None)
    return config


def command(run: Path, config: dict[str, Any], processes: int, *torchrun: str) -> list[str]:
    """The command that trains into `run`, under torchrun where it is more than one process."""
    file = run.parent / f"{run.name}.json"
    file.write_text(json.dumps(config))
    launcher = [sys.executable]
    if processes > 1 or torchrun:
        launcher += ["-m", "torch.distributed.run", "--standalone", *torchrun]
        launcher += [f"--nproc_per_node={processes}"]
    return [*launcher, str(SCRIPT), str(run), str(file)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def run_to_end(
    run: Path, config: dict[str, Any], processes: int, *torchrun: str, **more: str
) -> subprocess.CompletedProcess:
    """Train; refuse anything but success."""
    done = subprocess.run(
        command(run, config, processes, *torchrun),
        env=environment(**more), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def outcome(run: Path) -> dict[str, Any]:
    """The last checkpoint, with `losses` and `norms` of all steps logged."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    rows = [r for r in map(json.loads, lines) if "train/loss" in r]
    content = checkpoint.load(run / "checkpoints" / "last.pt")
    content["losses"] = [r["train/loss"] for r in rows]
    content["norms"] = [r["train/grad_norm"] for r in rows]
    return content
