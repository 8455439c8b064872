"""Going back, going on otherwise, and a restart of what was refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from frfw.errors import FrfwError
from frfw.training import checkpoint, refusal
from frfw.training.resume import other_keys

sys.path.insert(0, str(Path(__file__).parent))
import plain_config
import plain_run


@pytest.fixture
def train(blobs, tmp_path):
    """Train a network of two layers in this process; returns the run's checkpoints."""

    def go(*overrides: str) -> Path:
        given = ["trainer.global_batch_size=12", "trainer.checkpoint_every=2"]
        plain_run.train(tmp_path / "run", plain_config.config_of(blobs, [*given, *overrides]))
        return tmp_path / "run" / "checkpoints"

    return go


def step_of(path: Path) -> int:
    return checkpoint.load(path)["counters"]["step"]


def test_going_back_moves_the_abandoned_checkpoints_aside(train, capsys):
    kept = ["trainer.keep_checkpoints=9", "trainer.evaluate_every=2"]
    folder = train("trainer.steps=8", *kept)
    assert step_of(folder / "last.pt") == 8
    back = f"resume={folder / 'step_4.pt'}"
    train("trainer.steps=5", *kept, back)
    assert "checkpoints of later steps than 4 were moved" in capsys.readouterr().out
    assert sorted(p.name for p in folder.glob("step_*.pt")) == [
        "step_2.pt", "step_4.pt", "step_5.pt",
    ]  # fmt: skip
    aside = folder / "abandoned_after_step_4_1"
    assert {"step_6.pt", "step_8.pt", "last.pt"} <= {p.name for p in aside.iterdir()}
    assert step_of(folder / "last.pt") == 5
    best = checkpoint.load(folder / "last.pt")["best"]
    assert best["step"] <= 5
    assert step_of(folder / "best.pt") == best["step"]


def test_a_best_of_the_abandoned_branch_is_not_the_best_any_more(tmp_path):
    from frfw.training import abandoned

    for step in (2, 4, 6):
        content = {"format": 1, "counters": {"step": step}, "head_shards": None}
        if step == 6:
            content["head_shards"] = "step_6.head"
            (tmp_path / "step_6.head").mkdir()
        checkpoint.save(content, tmp_path / f"step_{step}.pt")
    for name in ("last.pt", "best.pt"):
        checkpoint.alias(tmp_path / "step_6.pt", name)
    pruned = {"metric": "lfw", "value": 0.9, "step": 1}
    lines, best = abandoned.set_aside(tmp_path, tmp_path / "step_4.pt", 4, pruned)
    assert "best.pt among them" in lines[0]
    assert best["step"] is None
    assert not (tmp_path / "best.pt").exists()
    assert step_of(tmp_path / "last.pt") == 4
    (aside,) = tmp_path.glob("abandoned_*")
    assert (aside / "step_6.head").is_dir()
    known = {"metric": "lfw", "value": 0.9, "step": 2}
    checkpoint.alias(tmp_path / "step_4.pt", "best.pt")
    lines, best = abandoned.set_aside(tmp_path, tmp_path / "step_2.pt", 2, known)
    assert best == known
    assert step_of(tmp_path / "best.pt") == 2
    assert abandoned.set_aside(tmp_path, tmp_path / "step_2.pt", 2, known)[0] == []


def test_changed_settings_are_said(train, capsys):
    train("trainer.steps=2")
    train("trainer.steps=4", "resume=auto", "optimizer.base_lr=0.01", "augment=flip")
    out = capsys.readouterr().out
    (line,) = [row for row in out.splitlines() if "other values than the checkpoint's" in row]
    assert "optimizer.base_lr" in line
    assert "trainer.steps" in line
    assert "resume" not in line.partition("values of")[2]


def test_other_keys_are_leaves():
    before = {"a": {"b": 1, "c": 2}, "resume": None}
    assert other_keys(before, {"a": {"b": 1, "c": 3, "new": 1}, "resume": "auto"}) == ["a.c"]


def test_a_refused_run_is_refused_after_a_restart_too(train, tmp_path, monkeypatch):
    monkeypatch.setattr(refusal, "_file", lambda: tmp_path / "refused")
    folder = train("trainer.steps=2")
    with pytest.raises(FrfwError, match="exists already"):
        train("trainer.steps=4")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with pytest.raises(FrfwError, match="exists already"):
        train("trainer.steps=4")
    assert step_of(folder / "last.pt") == 2
    (tmp_path / "refused").unlink()  # another launcher's restart: it resumes by itself
    train("trainer.steps=4")
    assert step_of(folder / "last.pt") == 4


@pytest.mark.slow
def test_torchrun_does_not_resume_a_run_that_it_did_not_start(tmp_path, blobs):
    import subprocess

    config = plain_config.config_of(blobs, ["trainer.steps=2", "evaluation=[]"])
    plain_config.run_to_end(tmp_path / "run", config, 1)
    config["trainer"]["steps"] = 4
    done = subprocess.run(
        plain_config.command(tmp_path / "run", config, 1, "--max-restarts=2"),
        env=plain_config.environment(), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.count("exists already") >= 3
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["steps"] == 2


def test_a_head_that_does_not_fit_is_refused_before_it_is_made(train, monkeypatch):
    from frfw.training import build, head_memory

    monkeypatch.setattr(head_memory, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(build, "_classifier", lambda *_: pytest.fail("the head was made"))
    with pytest.raises(FrfwError, match=r"head of 8 classes needs .*classifier.parallel=sharded"):
        train("trainer.steps=2")


def test_bytes_of_a_head():
    from frfw.training.head_memory import head_bytes

    config = {
        "classifier": {"parallel": "sharded", "fused_update": False, "sample_rate": 1.0},
        "loss": {"sub_centers": 3},
        "optimizer": {"name": "adamw"},
    }
    assert head_bytes(config, 512, 101, world=2) == 51 * 3 * 512 * 4 * 4
    config["classifier"] |= {"parallel": "sampled", "sample_rate": 0.5}
    assert head_bytes(config, 512, 101, world=2) == 51 * 3 * 512 * 4 * 5
    config["classifier"] = {"parallel": "replicated", "fused_update": True, "sample_rate": 1.0}
    config["optimizer"] = {"name": "sgd", "momentum": 0.9}
    assert head_bytes(config, 512, 101, world=2) == 101 * 3 * 512 * 4 * 2
    config["optimizer"]["momentum"] = 0
    assert head_bytes(config, 512, 101, world=2) == 101 * 3 * 512 * 4
