"""`python -m frfw.checkpoint inspect|average|to-safetensors` on checkpoints of a tiny network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from frfw.backbones import create_backbone
from frfw.checkpoint import main
from frfw.errors import FrfwError
from frfw.training import checkpoint
from frfw.training.finetune import load_backbone, read_weights
from frfw.training.weight_files import mean_state


def network(seed: int = 0):
    torch.manual_seed(seed)
    return create_backbone("mobilefacenet", 8, 32, width=0.125).eval()


def content(step: int, seed: int, **changes) -> dict:
    backbone = network(seed)
    weight = torch.nn.Parameter(torch.randn(5, 8))
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1, momentum=0.9)
    for parameter in backbone.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return {
        "format": checkpoint.FORMAT,
        "backbone": backbone.state_dict(),
        "head": {"weight": weight.detach(), "t": torch.tensor([0.25])},
        "extra_loss": {},
        "ema": None,
        "optimizer": {
            "backbone": optimizer.state_dict(),
            "head": {"weight": {"values": {"momentum_buffer": weight.detach()}, "wide": []}},
        },
        "scaler": {},
        "counters": {"step": step, "samples": 32 * step, "skipped": 0, "lr_factor": 1.0},
        "best": {"metric": "lfw", "value": 0.91, "step": 10},
        "metrics": {},
        "config": {
            "backbone": {"name": "mobilefacenet", "width": 0.125},
            "loss": {"name": "curricular", "m": 0.5},
            "trainer": {"precision": "fp32", "global_batch_size": 32},
        },
        "preprocessing": {"size": 32, "channels": "rgb", "mean": 127.5, "std": 127.5},
        "data": {"fingerprint": "abc", "classes": 5, "images": 50},
        "head_shards": None,
        **changes,
    }


@pytest.mark.slow
def test_inspect_and_export_what_the_trainer_wrote(train, tmp_path, monkeypatch, capsys):
    done = train("name=real", "trainer.steps=2", "evaluation.sets={}")
    assert done.returncode == 0, done.stderr
    call(monkeypatch, "inspect", tmp_path / "runs/real")
    text = capsys.readouterr().out
    assert "curricular" in text
    assert text.count("momentum_buffer") == 2
    call(
        monkeypatch,
        "to-safetensors",
        tmp_path / "runs/real",
        "--output",
        tmp_path / "w.safetensors",
    )
    assert read_weights(tmp_path / "w.safetensors").layout.backbone == "mobilefacenet"


@pytest.fixture
def folder(tmp_path) -> Path:
    run = tmp_path / "run"
    for step in (10, 20, 30):
        checkpoint.save(content(step, seed=step), run / "checkpoints" / f"step_{step}.pt")
    return run


def call(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["frfw.checkpoint", *map(str, arguments)])
    main()


def test_inspect(folder, monkeypatch, capsys):
    call(monkeypatch, "inspect", folder / "checkpoints" / "step_20.pt")
    text = capsys.readouterr().out
    for words in ["20", "mobilefacenet", "curricular m=0.5", "5 x 8", "t: 0.25", "lfw 0.9100"]:
        assert words in text
    assert text.count("momentum_buffer") == 2
    call(monkeypatch, "inspect", folder, "--json")
    facts = json.loads(capsys.readouterr().out)
    assert facts["step"] == 30
    assert facts["data"]["classes"] == 5
    assert facts["not finite"] == []


def test_inspect_lists_tensors_and_finds_nan(tmp_path, monkeypatch, capsys):
    bad = content(1, seed=1)
    bad["backbone"]["conv1.conv.weight"][0, 0, 0, 0] = float("nan")
    checkpoint.save(bad, tmp_path / "bad.pt")
    call(monkeypatch, "inspect", tmp_path / "bad.pt", "--tensors")
    text = capsys.readouterr().out
    assert "1 tensors: conv1.conv.weight" in text
    assert text.count("running_mean") == text.count("running_var") > 10


def test_inspect_public_weights_says_how_to_load_them(tmp_path, monkeypatch, capsys):
    state = create_backbone("ir18", 8, 32, width=0.125, inner_norm=False).state_dict()
    torch.save({"state_dict": state}, tmp_path / "public.pth")
    call(monkeypatch, "inspect", tmp_path / "public.pth")
    text = capsys.readouterr().out
    assert "CurricularFace weights" in text


def test_average_is_the_mean(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "mean.pt"
    call(monkeypatch, "average", folder, "--output", out)
    assert "mean of 3 checkpoints" in capsys.readouterr().out
    result = checkpoint.load(out)
    parts = [checkpoint.load(folder / "checkpoints" / f"step_{s}.pt") for s in (10, 20, 30)]
    for group in ("backbone", "head"):
        for key, value in result[group].items():
            values = torch.stack([p[group][key].double() for p in parts])
            expected = values.mean(0) if value.is_floating_point() else values[-1]
            torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-7)
    assert result["optimizer"] == {}
    load_backbone(network(), read_weights(out))


def test_average_refuses_what_cannot_be(folder, tmp_path, monkeypatch):
    one = folder / "checkpoints" / "step_10.pt"
    with pytest.raises(FrfwError, match="at least two"):
        call(monkeypatch, "average", one, "--output", tmp_path / "out.pt")
    with pytest.raises(FrfwError, match="exists already"):
        call(monkeypatch, "average", folder, "--output", one)
    other = content(40, seed=4)
    other["backbone"] = create_backbone("mobilefacenet", 16, 32, width=0.125).state_dict()
    checkpoint.save(other, tmp_path / "other.pt")
    with pytest.raises(FrfwError, match="another network"):
        call(monkeypatch, "average", one, tmp_path / "other.pt", "--output", tmp_path / "out.pt")


def test_average_of_other_data_keeps_the_newest_head(tmp_path):
    from frfw.training.weight_files import average

    for step in (1, 2):
        data = {"fingerprint": str(step), "classes": 5, "images": 50}
        checkpoint.save(content(step, seed=step, data=data), tmp_path / f"{step}.pt")
    average([tmp_path / "2.pt", tmp_path / "1.pt"], tmp_path / "out.pt")
    result, newest = checkpoint.load(tmp_path / "out.pt"), checkpoint.load(tmp_path / "2.pt")
    assert torch.equal(result["head"]["weight"], newest["head"]["weight"])


def test_mean_of_equal_states_is_exact():
    state = network().state_dict()
    mean = mean_state([state, state, state])
    assert all(torch.equal(mean[k], state[k]) for k in state)


def test_to_safetensors_round_trip(folder, monkeypatch, capsys):
    source = folder / "checkpoints" / "step_30.pt"
    call(monkeypatch, "to-safetensors", source)
    path = Path(capsys.readouterr().out.strip())
    assert path == source.with_suffix(".safetensors")
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["preprocessing"])["size"] == 32
        assert json.loads(file.metadata()["config"])["loss"]["name"] == "curricular"
    target = network(seed=99)
    load_backbone(target, read_weights(path))
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(target(x), network(seed=30)(x))
    with pytest.raises(FrfwError, match="exists already"):
        call(monkeypatch, "to-safetensors", source)


def test_command_line_errors_are_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "frfw.checkpoint", "inspect", str(tmp_path / "nothing")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
