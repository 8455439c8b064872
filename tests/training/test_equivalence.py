"""One process = two = three = accumulation of two = tiled = sharded: the same mathematics."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

sys.path.insert(0, str(Path(__file__).parent))
import plain_config
import plain_run

TWO_LOSSES = ["loss=adaface", "weighting=ohem", "extra_loss=triplet"]
CLIPPED = ["loss=curricular", "trainer.clip_norm=8"]


def run(folder: Path, blobs: Path, processes: int, overrides: list[str]) -> dict:
    """Train 20 steps; return the last checkpoint, with a sharded head put together."""
    config = plain_config.config_of(blobs, overrides)
    if processes == 1:
        plain_run.train(folder, config)
    else:
        plain_config.run_to_end(folder, config, processes)
    content = plain_config.outcome(folder)
    content["momentum"] = {
        f"{part}.{i}": state["momentum_buffer"]
        for part in ("backbone", "extra_loss")
        for i, state in content["optimizer"].get(part, {"state": {}})["state"].items()
        if state.get("momentum_buffer") is not None
    }
    for name, state in content["optimizer"]["head"].items():
        if "momentum_buffer" in state["values"]:
            content["momentum"][f"head.{name}"] = state["values"]["momentum_buffer"]
    if content["head_shards"]:
        file = folder / "head.pt"
        dcp_to_torch_save(folder / "checkpoints" / content["head_shards"], file)
        shards = torch.load(file, weights_only=True)
        content["head"]["weight"] = shards["head.weight"]
        content["momentum"]["head.weight"] = shards["optimizer.weight.momentum_buffer"]
    return content


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-5 * float(a.abs().max()))


def assert_same(one: dict, other: dict, name: str) -> None:
    """Losses and gradient norms of every step, momentum, weights and the loss's state (t)."""
    assert len(other["losses"]) == len(one["losses"]) == 20
    # Nearer to 0 a loss at s = 64 is made of differences that float32 rounds away.
    assert min(one["losses"]) > 1
    assert other["losses"] == pytest.approx(one["losses"], rel=1e-5), name
    assert other["norms"] == pytest.approx(one["norms"], rel=1e-5), name
    for part in ("backbone", "head", "extra_loss", "momentum"):
        assert one[part].keys() == other[part].keys(), (name, part)
        for key, value in one[part].items():
            assert close(value, other[part][key]), (name, part, key)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, blobs) -> dict:
    """One process, one micro-batch, all logits."""
    one = run(tmp_path_factory.mktemp("one") / "run", blobs, 1, CLIPPED)
    assert "t" in one["head"]
    assert max(one["norms"]) > 8  # clipped: the factor depends on the global norm
    return one


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "overrides"),
    [
        pytest.param(1, ["trainer.micro_batch_size=12"], id="accumulated"),
        pytest.param(1, ["classifier.mode=tiled", "classifier.memory_budget=0"], id="tiled"),
        pytest.param(2, ["classifier.mode=tiled", "trainer.micro_batch_size=6"], id="two"),
        pytest.param(2, ["classifier.parallel=sharded"], id="sharded"),
        pytest.param(
            2, ["classifier.parallel=sampled", "trainer.micro_batch_size=6"], id="sampled-at-1"
        ),
    ],
)
def test_processes_accumulation_tiles_and_shards_change_nothing(
    tmp_path, blobs, plain, processes, overrides
):
    assert_same(plain, run(tmp_path / "run", blobs, processes, [*CLIPPED, *overrides]), "plain")


@pytest.mark.slow
def test_losses_that_need_the_whole_batch(tmp_path, blobs):
    one = run(tmp_path / "one", blobs, 1, TWO_LOSSES)
    halves = ["trainer.micro_batch_size=12"]
    assert_same(one, run(tmp_path / "halves", blobs, 1, [*TWO_LOSSES, *halves]), "accumulated")
    assert_same(one, run(tmp_path / "two", blobs, 2, TWO_LOSSES), "two processes")


@pytest.mark.slow
def test_a_run_goes_on_over_one_two_three_and_one_processes(tmp_path, blobs):
    """The same global batches, so the same losses; the head changes from whole to shards too."""
    settings = [*CLIPPED, "schedule=constant", "optimizer.base_lr=0.005"]
    whole = run(tmp_path / "whole", blobs, 1, settings)
    legs = [(1, 5, []), (2, 10, ["classifier.parallel=sharded"]), (3, 15, []), (1, 20, [])]
    folder = tmp_path / "cut"
    for processes, steps, more in legs:
        cut = run(
            folder, blobs, processes,
            [*settings, *more, f"trainer.steps={steps}", "resume=auto", "evaluation=[]"],
        )  # fmt: skip
    assert_same(whole, cut, "1 -> 2 -> 3 -> 1")
