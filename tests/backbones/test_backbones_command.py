"""`python -m frfw.backbones` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "frfw.backbones", *arguments], capture_output=True, text=True
    )


def test_table_and_json():
    done = run("mobilefacenet", "mbf")
    assert done.returncode == 0, done.stderr
    assert "1.20 M" in done.stdout
    assert "2.06 M" in done.stdout
    row = json.loads(run("mobilefacenet", "--json").stdout)
    assert row["parameters"] == 1_200_512
    assert round(row["macs"] / 1e6) == 221


def test_unknown_name_is_one_line():
    done = run("mobilefacnet")
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no backbone 'mobilefacnet'")
    assert "mobilefacenet" in done.stderr
    assert done.stderr.count("\n") == 1
