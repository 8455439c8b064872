"""Reference numbers of the papers' own code; see `tests/reference/losses/*.json` for sources."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parent.parent / "reference" / "losses"


class Reference:
    """Arrays of one npz as float64 (int64) tensors, with the parameters from its json."""

    def __init__(self, name: str) -> None:
        self.about = json.loads((FOLDER / f"{name}.json").read_text())
        self._arrays = np.load(FOLDER / f"{name}.npz")

    def __getitem__(self, key: str) -> torch.Tensor:
        return torch.from_numpy(self._arrays[key])


@pytest.fixture(scope="session")
def margin_reference() -> Reference:
    return Reference("margin")


@pytest.fixture(scope="session")
def embedding_reference() -> Reference:
    return Reference("embedding")
