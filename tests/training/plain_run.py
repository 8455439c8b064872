"""Not a test: trains a network without batch norm, as `python plain_run.py RUN_DIR config.json`.

Batch norm sees micro-batches, so numbers over processes and accumulation are compared without it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from frfw.training import build
from frfw.training.launch import work


class Plain(nn.Module):
    """Two linear layers and a PReLU."""

    stages: ClassVar[dict[str, tuple[str, ...]]] = {"embedding": ("layers",)}

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        self.embedding_dim, self.input_size = dim, size
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(3 * size * size, 48), nn.PReLU(48), nn.Linear(48, dim)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


if __name__ == "__main__":
    run_dir, config_file = sys.argv[1:]
    build.build_backbone = lambda config, size: Plain(16, size)
    work(json.loads(Path(config_file).read_text()), run_dir, [])
