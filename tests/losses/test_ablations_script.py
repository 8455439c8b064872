"""scripts/ablations.py reads its studies from the configs and sums up the runs that are there."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "ablations.py"


@pytest.fixture(scope="module")
def ablations():
    spec = importlib.util.spec_from_file_location("ablations", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_jobs_are_the_configs_sweeps(ablations):
    t = ablations.jobs("t")
    assert len(t) == 15
    assert {job["loss.t"] for job in t} == {"0", "0.3", "0.7", "1", "adaptive"}
    for study in ablations.STUDIES:
        seeds = [job["seed"] for job in ablations.jobs(study)]
        assert {s: seeds.count(s) for s in "123"} == dict.fromkeys("123", len(seeds) // 3)


def fake(ablations, runs, job, status, accuracy, losses):
    path = ablations.folder(runs, "t", job)
    path.mkdir(parents=True)
    metrics = {"lfw": {"accuracy": accuracy}} if accuracy else {}
    result = {"status": status, "metrics": metrics, "minutes": 0.5}
    (path / "result.json").write_text(json.dumps(result))
    lines = [{"step": i, "train/loss": loss, "head/t": 0.1} for i, loss in enumerate(losses)]
    (path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))


def test_report_of_what_is_there(ablations, tmp_path):
    falling = [20.0, 15.0, 10.0]
    first, second, third = ablations.jobs("t")[:3]  # t = 0, seeds 1, 2, 3
    fake(ablations, tmp_path / "runs", first, "finished", 0.70, falling)
    fake(ablations, tmp_path / "runs", second, "finished", 0.74, falling)
    fake(ablations, tmp_path / "runs", third, "diverged", None, [20.0, 25.0])
    ablations.report(tmp_path / "runs", tmp_path / "out", ["t", "margin"])
    text = (tmp_path / "out" / "tables.md").read_text()
    assert "| t = 0 | 3 | 72.00 ± 2.83 | - |" in text
    assert "1 diverged" in text
    assert "1.5 minutes" in text
    assert (tmp_path / "out" / "ablation_t.png").stat().st_size > 5_000
    assert not (tmp_path / "out" / "ablation_margin.png").exists()
