"""Two gloo processes give the loss, gradients and state of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    sys.path.insert(0, str(HERE))
    import losses_ddp_worker as worker

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "losses_ddp_worker.py")]
    ends = [str(tmp_path / "rendezvous"), str(tmp_path / "out")]
    pair = [
        subprocess.Popen([*command, str(rank), *ends], env=environment, stderr=subprocess.PIPE)
        for rank in (0, 1)
    ]
    for process in pair:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error.decode()
    one = worker.compute(slice(0, worker.BATCH), 1)
    for rank in (0, 1):
        two = torch.load(tmp_path / f"out.{rank}", weights_only=True)
        for name, expected in one.items():
            for mine, reference in zip(two[name], expected, strict=True):
                torch.testing.assert_close(mine, reference, rtol=0, atol=1e-9, msg=name)
