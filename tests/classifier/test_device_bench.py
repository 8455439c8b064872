"""The measurements for a GPU run on a CPU too, and find the most classes that fit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.parametrize("most", [1, 900, 1000, 5000, 123_456])
def test_most_classes(monkeypatch, most):
    monkeypatch.syspath_prepend(SCRIPTS)
    from classifier_device import most_classes

    found = most_classes(lambda count: count <= most, 1000)
    assert found <= most
    assert most - found <= max(most, 1000) / 8


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
