from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

REFERENCE = Path(__file__).parents[1] / "reference" / "backbones"


def filled(key: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Fill one state-dict entry by the rule that the reference outputs were made with."""
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    a = rng.standard_normal(shape)
    if len(shape) >= 2:
        a = a * np.sqrt(2 / np.prod(shape[1:]))
    elif key.endswith("running_var"):
        a = 1 + 0.1 * np.abs(a)
    elif key.endswith(("running_mean", "bias")):
        a = 0.1 * a
    elif "prelu" in key and len(shape) == 1:
        a = 0.25 + 0.02 * rng.standard_normal(shape)
    else:
        a = 0.5 + 0.05 * a
    return torch.from_numpy(np.asarray(a, dtype=np.float32))


@pytest.fixture(scope="session")
def reference() -> dict:
    outputs = np.load(REFERENCE / "backbones.npz")
    described = json.loads((REFERENCE / "backbones.json").read_text())
    return {name: {**entry, "output": outputs[name]} for name, entry in described.items()}


@pytest.fixture(scope="session")
def reference_input() -> Tensor:
    values = np.random.default_rng(5).uniform(-1, 1, (2, 3, 112, 112))
    return torch.from_numpy(values.astype(np.float32))


@pytest.fixture(scope="session")
def fill():
    return filled
