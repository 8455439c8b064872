"""Flags may stand anywhere on a command line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from frfw.command import in_hydras_order
from frfw.errors import FrfwError


@pytest.mark.parametrize(
    ("typed", "ordered"),
    [
        (["loss=arcface", "-m", "seed=1,2"], ["loss=arcface", "seed=1,2", "-m"]),
        (["-m", "a=1,2", "--cfg", "job", "b=2"], ["a=1,2", "b=2", "-m", "--cfg", "job"]),
        (["a=1", "a=1", "--multirun", "a=1"], ["a=1", "a=1", "a=1", "--multirun"]),
        (["--cfg=job", "~augment", "+x=1"], ["~augment", "+x=1", "--cfg=job"]),
        (["-cn", "other", "a=1"], ["a=1", "-cn", "other"]),
        (["--skip-missing", "a=1"], ["evaluation.skip_missing=true", "a=1"]),
        ([], []),
    ],
)
def test_overrides_come_first(typed, ordered):
    flags = {"--skip-missing": "evaluation.skip_missing=true"}
    assert in_hydras_order(typed, flags) == ordered


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["a=1", "--multrun"], r"unrecognized arguments: --multrun.*Did you mean '--multirun'"),
        (["a=1", "--cfg"], r"--cfg.*expected one argument"),
        (["--cfg", "jab", "a=1"], r"invalid choice: 'jab'"),
        (["--skip-misssing"], r"Did you mean '--skip-missing'"),
    ],
)
def test_a_wrong_flag_is_one_line(typed, message):
    with pytest.raises(FrfwError, match=message):
        in_hydras_order(typed, {"--skip-missing": "evaluation.skip_missing=true"})


def test_a_name_that_is_no_text_does_not_end_the_report():
    code = "from frfw.command import run; run(lambda: print('caf\\udce9', 'end'))"
    command = [sys.executable, "-c", code]
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=strict)
    assert (done.returncode, done.stdout) == (0, "caf\\udce9 end\n")
