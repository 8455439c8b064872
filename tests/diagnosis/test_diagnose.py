"""Each signature on a hand-made run folder, and that a healthy run has none."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from frfw.diagnose import read_evidence
from frfw.diagnosis import Evidence, diagnose
from frfw.diagnosis.finding import flat
from frfw.errors import FrfwError
from frfw.tracking.runs import Curve

CLASSES = 1000
POINTS = 40
SHARE = np.linspace(0, 1, POINTS)
CONFIG = {
    "loss": {"name": "curricular", "s": 64.0, "m": 0.5, "t": "adaptive"},
    "trainer": {"precision": "fp32", "clip_norm": 5.0},
}


def healthy() -> dict[str, np.ndarray]:
    """A run as it should be."""
    wobble = 0.2 * np.sin(np.arange(POINTS))
    return {
        "train/loss": 38 * np.exp(-3 * SHARE) + wobble,
        "train/grad_norm": 2 + wobble,
        "train/data_wait": 0.02 + 0 * SHARE,
        "train/images_per_s": 900 + 20 * wobble,
        "train/skipped_steps": 0 * SHARE,
        "head/t": 0.6 * SHARE,
        "head/cos_target_mean": 0.65 * SHARE,
        "head/accuracy_no_margin": 0.95 * SHARE,
        "head/accuracy_margin": 0.7 * SHARE**2,
        "head/feature_norm": 20 + 3 * SHARE,
        "val/lfw/accuracy": np.where(np.arange(POINTS) % 10 == 9, 0.8 + 0.15 * SHARE, np.nan),
    }


def write(folder: Path, curves: dict[str, np.ndarray], config: dict = CONFIG) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.jsonl").open("w") as file:
        for i in range(POINTS):
            line = {"step": 50 * (i + 1), "time": 3.0 * i}
            for name, values in curves.items():
                if name.startswith("val/") and math.isnan(values[i]):
                    continue
                value = float(values[i])
                line[name] = value if math.isfinite(value) else str(value)
            file.write(json.dumps(line) + "\n")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "log.txt").write_text(f"12:00 data: 20000 images of {CLASSES} identities\n")
    return folder


def constant(value: float) -> np.ndarray:
    return value + 0.01 * np.cos(np.arange(POINTS))


def from_step(index: int, values: np.ndarray, late: float) -> np.ndarray:
    return np.where(np.arange(POINTS) >= index, late, values)


UNLEARNT = {
    "head/accuracy_no_margin": constant(0.0),
    "head/accuracy_margin": 0 * SHARE,
    "head/t": constant(0.03),
}
CASES = {
    "loss_at_chance": {"train/loss": constant(math.log(CLASSES)), **UNLEARNT},
    "collapsed": {"train/loss": constant(64 * 1.5), **UNLEARNT},
    "not_finite": {"train/loss": from_step(20, healthy()["train/loss"], math.nan)},
    "skipped_steps": {"train/skipped_steps": 100 * SHARE},
    "t_stuck": {"head/t": 0 * SHARE},
    "t_negative": {"head/t": -0.2 * SHARE},
    "t_near_zero": {"head/t": 0.005 * SHARE},
    "margin_gap": {"head/accuracy_margin": 0 * SHARE},
    "validation_at_chance": {"val/lfw/accuracy": constant(0.5)},
    "validation_falling": {"val/lfw/accuracy": 0.9 - 0.1 * SHARE},
    "data_bound": {"train/data_wait": constant(0.7)},
    "always_clipped": {"train/grad_norm": constant(30.0)},
    "feature_norm": {"head/feature_norm": 20 * np.exp(5 * SHARE)},
    "slowing_down": {"train/images_per_s": 900 - 600 * SHARE},
}


def names(folder: Path) -> dict[str, str]:
    return {f.name: f.level for f in diagnose(read_evidence(folder))}


def test_a_healthy_run_has_no_findings(tmp_path):
    assert names(write(tmp_path / "run", healthy())) == {}


@pytest.mark.parametrize("name", CASES)
def test_each_signature_is_named_alone(tmp_path, name):
    folder = write(tmp_path / "run", {**healthy(), **CASES[name]})
    assert list(names(folder)) == [name]
    finding = diagnose(read_evidence(folder))[0]
    assert finding.seen
    assert finding.means
    assert finding.advice


@pytest.mark.parametrize(
    ("loss", "margin"),
    [
        ({"name": "cosface", "s": 64.0, "m": 0.4}, 25.6),
        ({"name": "arcface", "s": 32.0, "m": 0.5}, 15.34),
    ],
)
def test_a_margin_loss_that_learns_nothing_starts_above_chance(tmp_path, loss, margin):
    curves = {**healthy(), **UNLEARNT, "train/loss": constant(math.log(CLASSES) + margin)}
    curves.pop("head/t")
    folder = write(tmp_path / "run", curves, {**CONFIG, "loss": loss})
    assert names(folder) == {"loss_at_chance": "problem"}


def test_margin_gap_is_normal_and_comes_last(tmp_path):
    curves = {**healthy(), **CASES["margin_gap"], **CASES["data_bound"]}
    found = names(write(tmp_path / "run", curves))
    assert list(found.items()) == [("data_bound", "problem"), ("margin_gap", "normal")]


def test_validation_at_chance_depends_on_whether_training_learnt(tmp_path):
    learnt = write(tmp_path / "a", {**healthy(), **CASES["validation_at_chance"]})
    assert names(learnt)["validation_at_chance"] == "problem"
    not_learnt = write(tmp_path / "b", {**healthy(), **UNLEARNT, **CASES["validation_at_chance"]})
    assert names(not_learnt)["validation_at_chance"] == "warning"


def test_nan_names_the_step_and_what_came_before(tmp_path):
    norms = healthy()["train/grad_norm"].copy()
    norms[19] = 80.0
    curves = {**healthy(), **CASES["not_finite"], "train/grad_norm": norms}
    config = {**CONFIG, "trainer": {"precision": "fp16", "clip_norm": None}}
    finding = diagnose(read_evidence(write(tmp_path / "run", curves, config)))[0]
    assert "from step 1050 to the end" in finding.seen
    assert "rose to 80" in finding.seen
    assert any("bf16" in a for a in finding.advice)
    assert any("clip_norm" in a for a in finding.advice)


def test_constant_t_is_not_stuck(tmp_path):
    config = {**CONFIG, "loss": {**CONFIG["loss"], "t": 0.5}}
    assert names(write(tmp_path / "run", {**healthy(), "head/t": 0 * SHARE + 0.5}, config)) == {}


def test_class_count_comes_from_the_log(tmp_path):
    folder = write(tmp_path / "run", healthy())
    assert read_evidence(folder).classes == CLASSES
    (folder / "log.txt").unlink()
    assert read_evidence(folder).classes is None
    assert read_evidence(folder, 77).classes == 77


def test_how_the_run_ended(tmp_path):
    folder = write(tmp_path / "run", healthy())
    with (folder / "log.txt").open("a") as log:
        log.write("global batch 12 = 12 x 1 process x 1 accumulated; 5000 steps of 4.0 an epoch\n")
    assert names(folder) == {"unfinished": "warning"}
    (folder / "result.json").write_text(json.dumps({"status": "diverged", "error": "20 steps"}))
    assert names(folder) == {"gave_up": "problem"}
    (folder / "result.json").write_text(json.dumps({"status": "stopped"}))
    assert names(folder) == {}


def test_few_steps_are_enough_for_an_explosion():
    curves = {
        "train/loss": Curve(np.arange(1, 5), np.full(4, 35.0), np.arange(4)),
        "head/feature_norm": Curve(np.arange(1, 5), np.array([5, 6500, 6e4, 6e4]), np.arange(4)),
    }
    assert [f.name for f in diagnose(Evidence(curves, CONFIG, CLASSES))] == ["feature_norm"]


def test_a_run_without_steps_is_explained(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(FrfwError, match="no training step yet"):
        read_evidence(folder)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=30))
def test_any_numbers_are_survived(values):
    numbers = np.array(values, float)
    steps = np.arange(len(numbers))
    curves = {name: Curve(steps, numbers, steps) for name in healthy()}
    if len(numbers):
        diagnose(Evidence(curves, CONFIG, CLASSES))


def test_flat():
    assert flat(np.full(10, 3.0))
    assert not flat(np.linspace(10, 1, 20))
    assert not flat(np.array([1.0, 1.0]))
    noise = np.random.default_rng(0).normal(0, 5, 60)
    assert flat(35 + noise)
    assert not flat(35 + noise - np.arange(60))


def test_command(tmp_path):
    folder = write(tmp_path / "run", {**healthy(), **CASES["data_bound"]})
    command = [sys.executable, "-m", "frfw.diagnose"]
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "[problem] data_bound: 70 % of the time" in done.stdout
    assert "try: data.workers" in done.stdout
    missing = subprocess.run([*command, str(tmp_path / "no")], capture_output=True, text=True)
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: ")
    assert missing.stderr.count("\n") == 1
