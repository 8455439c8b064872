"""A whole training with trainer.device=cuda, on a make-believe GPU: the same run as on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from frfw.training import checkpoint

SCRIPT = Path(__file__).with_name("make_believe_train.py")
GIVEN = ["evaluation=[]", "trainer.report=false", "trainer.checkpoint_every=1000"]


def on_gpu(train, *arguments: str) -> int:
    """Train on the make-believe GPU; how often the run waited for it."""
    own = [text for text in train.command() if "=" in text and "trainer.device" not in text]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *own, "trainer.device=cuda", *arguments],
        cwd=train.folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.rsplit("waited ", 1)[1].split()[0])


def on_cpu(train, *arguments: str) -> None:
    done = train(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def last(train, name: str) -> dict:
    return checkpoint.load(train.folder / "runs" / name / "checkpoints" / "last.pt")


def assert_same_weights(train, a: str, b: str) -> None:
    one, two = last(train, a), last(train, b)
    for part in ("backbone", "head"):
        assert one[part]
        for key in one[part]:
            assert torch.equal(one[part][key], two[part][key]), (part, key)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        ["trainer.ema=0.99", "trainer.clip_norm=5", "evaluation=[lfw]"],
        ["augment=degraded", "augment.where=device", "weighting=ohem", "trainer.micro_batch_size=6"],
        ["extra_loss=triplet", "classifier.mode=tiled", "classifier.fused_update=true"],
        ["loss=arcface", "extra_loss=center", "classifier.parallel=sampled",
         "classifier.sample_rate=0.5", "optimizer=adamw"],
    ],
)  # fmt: skip
def test_same_run_as_on_the_cpu(train, how):
    on_cpu(train, "name=cpu", *GIVEN, *how)
    on_gpu(train, "name=gpu", *GIVEN, *how)
    assert_same_weights(train, "cpu", "gpu")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_run_goes_on(train, optimizer):
    how = [*GIVEN, f"optimizer={optimizer}", "trainer.precision=fp16"]
    on_gpu(train, "name=whole", *how)
    on_gpu(train, "name=cut", *how, "trainer.steps=3")
    on_gpu(train, "name=cut", *how, "resume=auto")
    assert (train.folder / "runs" / "cut" / "checkpoints" / "step_6.pt").is_file()


@pytest.mark.slow
def test_a_step_waits_once(train):
    """For the verdict on its batch; a step that logs nothing asks the device for nothing else."""
    how = [*GIVEN, "trainer.log_every=1000", "classifier.mode=tiled", "trainer.check_data=false"]
    short = on_gpu(train, "name=short", *how, "trainer.steps=3")
    long = on_gpu(train, "name=long", *how, "trainer.steps=7")
    assert long - short <= 4
