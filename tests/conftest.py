"""Shared by all tests: one torch thread and a seed of each test's own, so that results repeat.

FRFW_TEST_SEED=1, 2, ... draws other numbers, to find a test that passes by luck; the examples of
hypothesis are then new each time.
"""

from __future__ import annotations

import os
import random
import zlib

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from hypothesis import settings

# Other work on the machine is no failure: no deadline.
settings.register_profile("frfw", deadline=None, derandomize="FRFW_TEST_SEED" not in os.environ)
settings.load_profile("frfw")
torch.manual_seed(0)  # for what test modules draw when they are imported


@pytest.fixture(autouse=True, scope="session")
def _single_thread() -> None:
    torch.set_num_threads(1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seed every global generator: a test that sets none gets the same numbers in any order."""
    seed = zlib.crc32(f"{os.environ.get('FRFW_TEST_SEED', 0)} {item.nodeid}".encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
