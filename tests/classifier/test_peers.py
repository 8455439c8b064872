"""Two processes agree on errors, on one logical checkpoint, on sampled classes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp

import frfw


@pytest.fixture(scope="module")
def alone():
    path = Path(__file__).parent / "peers_worker.py"
    spec = importlib.util.spec_from_file_location("peers_worker", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_peers(processes, tmp_path, alone):
    found = [json.loads(text) for text in processes("peers_worker.py", 2, str(tmp_path))]
    for parallel in ("replicated", "sharded"):
        for said in (each[f"label_{parallel}"] for each in found):
            assert "label 41 at position 2" in said
            assert "process 1 of 2" in said
        assert all("position 0" in each[f"nan_{parallel}"] for each in found)
        assert all("process 0 of 2" in each[f"nan_{parallel}"] for each in found)
        for said in (each[f"type_{parallel}"] for each in found):
            assert said == "labels must be a torch.Tensor (process 1 of 2)"
        for said in (each[f"scalar_{parallel}"] for each in found):
            assert "width unknown (not a matrix) (process 1 of 2)" in said
    for mode in ("dense", "tiled"):
        assert [each[f"empty_{mode}"][0] for each in found] == [0, 3]
    assert all(f"{alone.CLASSES} centres, this one" in each["classes"] for each in found)
    assert all("do not spread over 2 processes" in each["range"] for each in found)
    assert all("parallel=sharded" in each["fused"] for each in found)

    head, losses = alone.train(-1, parallel="sampled", sample_rate=0.3)
    assert found[0]["sampled"] == pytest.approx(losses, abs=1e-10)
    whole = torch.load(tmp_path / "sampled0.pt")
    torch.testing.assert_close(whole["weight"], head.weight.detach(), rtol=0, atol=1e-10)
    assert "weight" not in torch.load(tmp_path / "sampled1.pt")

    head, losses = alone.train(-1, fused_update=True)
    assert found[0]["fused_losses"] == pytest.approx(losses, abs=1e-10)
    head.statistics = True
    shares = head(*alone.batch(9, -1)).hard_share.tolist()
    assert found[0]["hard_share"] + found[1]["hard_share"] == pytest.approx(shares)
    assert all(each["restored"] for each in found)

    one = frfw.create_classifier("curricular", alone.DIM, alone.CLASSES, "tiled").double()
    state = {"head": one.logical_state()}
    dcp.load(state, checkpoint_id=str(tmp_path / "dcp"))
    one.load_logical_state(state["head"])
    whole = torch.load(tmp_path / "whole0.pt")
    assert torch.equal(one.weight, whole["weight"])
    assert torch.equal(one.formula.t, whole["t"])
