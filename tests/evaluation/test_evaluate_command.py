"""`frfw.evaluate` and `frfw.calibrate` as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from frfw.evaluation import VerificationResult
from frfw.evaluation.calibration import Calibration


def run(module, *arguments, cwd):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", f"frfw.{module}", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=200
    )


@pytest.fixture
def own_embeddings(tmp_path):
    rng = np.random.default_rng(0)
    a, same = rng.standard_normal((200, 16)), np.arange(200) % 2 == 0
    near, other = a + 0.8 * rng.standard_normal(a.shape), rng.standard_normal(a.shape)
    b = np.where(same[:, None], near, other)
    np.savez(tmp_path / "own.npz", embeddings_a=a, embeddings_b=b, same=same)
    return tmp_path / "own.npz"


def test_embeddings_need_no_network(own_embeddings, tmp_path):
    done = run(
        "evaluate", "evaluation=[csv]", f"evaluation.sets.csv.path={own_embeddings}",
        "evaluation.bootstrap=50", "output=out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("set ")
    assert "100 impostors are too few for FAR 0.001" in done.stdout
    result = VerificationResult.load(tmp_path / "out" / "csv.json")
    assert result.same.size == 200
    assert set(result.intervals) >= {"accuracy", "auc", "tar@0.1"}
    assert (tmp_path / "out" / "table.txt").read_text() in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluation=[lfv]"], "evaluation=lfv: there is no such choice. Did you mean 'lfw'?"),
        (["checkpoint=nowhere"], "nowhere does not exist; give a run folder"),
    ],
)
def test_mistakes_end_in_one_line(arguments, message, tmp_path):
    done = run("evaluate", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_run_folder_on_images(model, faces, pair_csv, tmp_path):
    arguments = (
        f"checkpoint={model}", "evaluation=[csv]", f"evaluation.sets.csv.path={pair_csv}",
        "evaluation.bootstrap=20", "robustness.enabled=true", "robustness.changes=[jpeg]",
    )  # fmt: skip
    (model / "tensorboard").mkdir()
    (model / "config.yaml").write_text("loss: {name: arcface}\n")
    done = run("evaluate", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    events = EventAccumulator(str(model / "tensorboard")).Reload()
    assert set(events.Tags()["images"]) >= {
        "robustness/csv", "evaluation/roc", "evaluation/histogram/csv",
    }  # fmt: skip
    page = (model / "report.html").read_text()  # made anew, with what was scored
    assert "csv" in page
    assert "Robustness" in page
    folder = model / "evaluation"
    for name in ("csv.json", "csv.npz", "csv_worst.npz", "robustness.json", "table.txt"):
        assert (folder / name).is_file()
    figures = json.loads((folder / "csv.json").read_text())
    assert figures["details"]["flip"] is True
    assert len(list((folder / "cache").glob("*.npy"))) == 5  # unchanged, and four strengths


@pytest.mark.slow
def test_calibrate_writes_beside_the_model(model, faces, pair_csv, tmp_path):
    done = run("calibrate", model, "--pairs", pair_csv, "--far", "0.1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = Calibration.load(model / "calibration.json")
    assert found.impostors == 20
    assert found.details["set"] == "pairs"
