"""`trainer.deterministic`: of this run alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.backends import cudnn

from frfw.errors import FrfwError

sys.path.insert(0, str(Path(__file__).parent))
import plain_config
import plain_run


@pytest.mark.parametrize("asked", [True, False])
def test_only_kernels_that_repeat(blobs, tmp_path, monkeypatch, asked):
    """During the run; what its caller chose comes back after it."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    seen = []
    forward = plain_run.Plain.forward

    def look(self, x):
        seen.append((torch.are_deterministic_algorithms_enabled(), cudnn.deterministic))
        return forward(self, x)

    monkeypatch.setattr(plain_run.Plain, "forward", look)
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic
    config = plain_config.config_of(blobs, ["trainer.steps=1", f"trainer.deterministic={asked}"])
    plain_run.train(tmp_path / "run", config)
    assert set(seen) == {(asked, asked)}
    assert (torch.are_deterministic_algorithms_enabled(), cudnn.deterministic) == before
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_neither_true_nor_false(blobs, tmp_path):
    config = plain_config.config_of(blobs, ["trainer.deterministic=on"])
    config["trainer"]["deterministic"] = "on"
    with pytest.raises(FrfwError, match=r"trainer\.deterministic=on: choose true or false"):
        plain_run.train(tmp_path / "run", config)
