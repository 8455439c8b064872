"""`trainer.deterministic`, which each run of a process says anew."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from frfw.errors import FrfwError

sys.path.insert(0, str(Path(__file__).parent))
import plain_config
import plain_run


def test_only_kernels_that_repeat(blobs, tmp_path, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    for asked in (True, False):
        config = plain_config.config_of(
            blobs, ["trainer.steps=1", f"trainer.deterministic={asked}"]
        )
        plain_run.train(tmp_path / str(asked), config)
        assert torch.are_deterministic_algorithms_enabled() == asked
        assert torch.backends.cudnn.deterministic == asked


def test_neither_true_nor_false(blobs, tmp_path):
    config = plain_config.config_of(blobs, ["trainer.deterministic=on"])
    config["trainer"]["deterministic"] = "on"
    with pytest.raises(FrfwError, match=r"trainer\.deterministic=on: choose true or false"):
        plain_run.train(tmp_path / "run", config)
