"""A built wheel works from any folder: the configs and templates travel in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_works_from_any_folder(tmp_path):
    def run(*command: str, **options):
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    build = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        str(tmp_path / "dist"),
    ]
    run(*build, cwd=ROOT)
    wheel = next((tmp_path / "dist").glob("frfw-*.whl"))
    installed = tmp_path / "site"
    run(sys.executable, "-m", "zipfile", "-e", str(wheel), str(installed))
    away = tmp_path / "away"
    away.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    where = run(
        sys.executable, "-c", "import frfw; print(frfw.__file__)", cwd=away, env=environment
    )
    assert where.startswith(str(installed))
    config = run(sys.executable, "-m", "frfw.train", "--cfg", "job", cwd=away, env=environment)
    assert "curricular" in config
    assert (installed / "frfw" / "tracking" / "report" / "run.html.j2").is_file()
    assert (installed / "frfw" / "configs" / "train.yaml").is_file()
