"""One run, the same numbers: dense = tiled = replicated, sharded and sampled over processes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from frfw.losses import formula_names

WORKER = Path(__file__).parent / "equality_worker.py"
TELLING = ["curricular", "linear_softmax", "npcface", "sphereface", "subcenter_arcface"]
TOLERANCE = {"float64": 1e-9, "float32": 1e-5}


def worker():
    spec = importlib.util.spec_from_file_location("equality_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_same(reference: dict, found: dict, tolerance: float) -> None:
    assert found
    for key, seen in found.items():
        expected = reference[f"{key.split()[0]} dense:replicated"]
        for field, values in expected.items():
            assert len(values) == len(seen[field]), (key, field)
            for step, (a, b) in enumerate(zip(values, seen[field])):
                a, b = a.double(), b.double()
                error = ((a - b).abs().max() / a.abs().max().clamp_min(1)).item()
                assert error <= tolerance, (key, field, step, error)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss", formula_names())
def test_one_process_dense_is_tiled(loss, dtype):
    run, kind = worker().run, getattr(torch, dtype)
    reference = run([loss], ["dense:replicated"], 0, 1, kind)
    cases = ["tiled:replicated", "tiled0:replicated", "tiled:sampled"]
    assert_same(reference, run([loss], cases, 0, 1, kind), TOLERANCE[dtype])


def over_processes(processes, folder, world, dtype, losses, cases):
    names = formula_names() if losses == "all" else losses.split(",")
    reference = worker().run(names, ["dense:replicated"], 0, 1, getattr(torch, dtype))
    processes("equality_worker.py", world, str(folder / "seen.pt"), dtype, losses, *cases)
    assert_same(reference, torch.load(folder / "seen.pt"), TOLERANCE[dtype])


def test_two_processes(processes, tmp_path):
    cases = ["dense:replicated", "tiled:sharded"]
    over_processes(processes, tmp_path, 2, "float64", ",".join(TELLING), cases)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_two_processes_every_loss(processes, tmp_path, dtype):
    cases = ["dense:replicated", "tiled:replicated", "tiled0:sharded", "tiled:sampled"]
    over_processes(processes, tmp_path, 2, dtype, "all", cases)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_three_processes_every_loss(processes, tmp_path, dtype):
    cases = ["tiled:replicated", "tiled:sharded", "tiled:sampled"]
    over_processes(processes, tmp_path, 3, dtype, "all", cases)
