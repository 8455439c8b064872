"""Not a test: trains a network without batch norm, as `python plain_run.py RUN_DIR config.json`.

Batch norm sees micro-batches, so numbers over processes and accumulation are compared without it.

PLAIN_DIE_AT=N      kill the process in its Nth training forward, unless torchrun started it again
PLAIN_SLOW=SECONDS  that an evaluation batch takes
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import torch
from torch import nn

from frfw.training import build
from frfw.training.launch import work
from frfw.training.stopping import EXIT_CODE


class Plain(nn.Module):
    """Two linear layers and a PReLU."""

    stages: ClassVar[dict[str, tuple[str, ...]]] = {"embedding": ("layers",)}

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        self.embedding_dim, self.input_size, self.forwards = dim, size, 0
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(3 * size * size, 48), nn.PReLU(48), nn.Linear(48, dim)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.forwards += self.training
        again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
        if self.forwards == int(os.environ.get("PLAIN_DIE_AT", -1)) and not again:
            os.kill(os.getpid(), signal.SIGKILL)
        if not self.training:
            time.sleep(float(os.environ.get("PLAIN_SLOW", 0)))
        return self.layers(x)


def train(run_dir: str | Path, config: dict[str, Any]) -> dict[str, Any]:
    """Be one rank of a run."""
    with mock.patch.object(build, "build_backbone", lambda config, size: Plain(16, size)):
        return work(config, str(run_dir), [])


if __name__ == "__main__":
    result = train(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()))
    sys.exit(EXIT_CODE if result["status"] == "stopped" else 0)
