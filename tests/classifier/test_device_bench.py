"""The measurements for a GPU run on a CPU too, and find the most classes that fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.parametrize("most", [1, 900, 1000, 5000, 123_456])
def test_most_classes(monkeypatch, most):
    monkeypatch.syspath_prepend(SCRIPTS)
    from classifier_device import most_classes

    found = most_classes(lambda count: count <= most, 1000)
    assert found["fit"] <= most < found["full"]
    assert found["full"] - found["fit"] <= max(most, 1000) / 8


def test_most_classes_in_the_time_that_there_is(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    from classifier_device import most_classes

    def until(calls):
        left = iter(range(calls))
        return lambda count: count <= 5000 if next(left, None) is not None else None

    assert most_classes(until(2), 1000) == {"fit": 2000, "full": 0}
    assert most_classes(until(4), 1000) == {"fit": 4000, "full": 8000}


def test_what_went_wrong_is_told_apart(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    from classifier_device import attempt

    def fail(error):
        raise error

    assert attempt(lambda: fail(torch.OutOfMemoryError("CUDA out of memory"))) == {"full": True}
    assert attempt(lambda: fail(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"))) == {"full": True}
    assert attempt(lambda: fail(TypeError("a\nb"))) == {"failed": "TypeError: a"}


@pytest.mark.slow
def test_measuring_on_the_cpu(tmp_path):
    out = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPTS / "bench_classifier.py"), "device", "--out", str(out)]
    command += ["--device", "cpu", "--classes", "300", "--batches", "8", "--size", "32"]
    done = subprocess.run(
        [*command, "--rounds", "2"], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())["device"]["figures"]
    assert len(figures["heads"]) == 5
    assert len(figures["trainings"]) == 2
    for value in [*figures["heads"].values(), *figures["trainings"].values()]:
        assert len(value["seconds"]) == 2
        assert value["peak"] > 0
    assert "| mobilefacenet | 8 |" in done.stdout
    assert "images/s" in done.stdout
