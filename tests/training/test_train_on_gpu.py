"""A whole training with trainer.device=cuda, on a make-believe GPU: the same run as on the CPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from frfw.training.launch import work

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
import plain_config
import plain_run
from make_believe_gpu import MakeBelieveGpu

GIVEN = ["trainer.steps=4", "trainer.global_batch_size=12", "evaluation=[]"]


@pytest.fixture
def train(blobs, tmp_path):
    """`train(name, *overrides)` on the GPU: how often it waited; `cpu=True`: on the CPU."""

    def run(name: str, *overrides: str, cpu: bool = False, plain: bool = True) -> int:
        config = plain_config.config_of(blobs, [*GIVEN, *overrides])
        one = plain_run.train if plain else lambda folder, config: work(config, str(folder), [])
        if cpu:
            one(tmp_path / name, config)
            return 0
        config["trainer"]["device"] = "cuda"
        with MakeBelieveGpu() as gpu:
            one(tmp_path / name, config)
        return len(gpu.waits)

    return run


CASES = [
    ["trainer.ema=0.99", "trainer.clip_norm=5", "evaluation=[lfw]", "trainer.deterministic=true"],
    ["augment=standard", "augment.where=device", "weighting=ohem", "trainer.micro_batch_size=6"],
    ["extra_loss=triplet", "classifier.mode=tiled", "classifier.fused_update=true"],
    ["loss=arcface", "extra_loss=center", "classifier.parallel=sampled",
     "classifier.sample_rate=0.5", "optimizer=adamw"],
    ["loss=triplet", "loss.mining=given", "mining=offline"],
]  # fmt: skip


@pytest.mark.parametrize("how", CASES)
def test_same_run_as_on_the_cpu(train, tmp_path, how):
    train("cpu", *how, cpu=True)
    train("gpu", *how)
    one, two = plain_config.outcome(tmp_path / "cpu"), plain_config.outcome(tmp_path / "gpu")
    for part in ("backbone", "head"):
        for key in one[part]:
            assert torch.equal(one[part][key], two[part][key]), (part, key)
    assert one["losses"] == two["losses"]


@pytest.mark.slow
def test_with_batch_norm(train, tmp_path):
    how = ["backbone=mobilefacenet", "backbone.width=0.25", "backbone.embedding_dim=32"]
    train("cpu", *how, cpu=True, plain=False)
    train("gpu", *how, plain=False)
    one, two = plain_config.outcome(tmp_path / "cpu"), plain_config.outcome(tmp_path / "gpu")
    assert one["losses"] == two["losses"]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_run_goes_on(train, tmp_path, optimizer):
    """Also in fp16, whose loss scale is part of it."""
    how = [f"optimizer={optimizer}", "trainer.precision=fp16", "schedule=constant"]
    how += ["optimizer.base_lr=0.02"]
    train("whole", *how)
    train("cut", *how, "trainer.steps=2")
    train("cut", *how, "resume=auto")
    one, two = plain_config.outcome(tmp_path / "whole"), plain_config.outcome(tmp_path / "cut")
    for part in ("backbone", "head"):
        for key in one[part]:
            assert torch.equal(one[part][key], two[part][key]), (part, key)


def test_a_step_waits_once(train):
    """For the verdict on its batch; a step that logs nothing asks the device for nothing else."""
    how = ["trainer.log_every=1000", "trainer.checkpoint_every=1000", "classifier.mode=tiled"]
    assert train("long", *how, "trainer.steps=7") - train("short", *how, "trainer.steps=3") <= 4
