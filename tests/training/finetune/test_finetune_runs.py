"""Fine-tuning through the training command: weights in, frozen stages stay, other classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from frfw.backbones import create_backbone

pytestmark = pytest.mark.slow


def test_from_bgr_weights_to_other_classes(train, tmp_path):
    torch.manual_seed(7)
    public = create_backbone("ir18", 32, 32, width=0.125)
    torch.save({"state_dict": {f"model.{k}": v for k, v in public.state_dict().items()}},
               tmp_path / "adaface.ckpt")  # fmt: skip
    done = train(
        "name=fine", f"init_from={tmp_path / 'adaface.ckpt'}", "finetune=default",
        "backbone=ir18", "backbone.width=0.125", "data.keep=0..4", "finetune.freeze=layer2",
        "trainer.steps=3", "evaluation.sets={}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "runs/fine/log.txt").read_text()
    assert "AdaFace weights" in log
    assert "turned to RGB" in log
    assert "rows from the means" in log
    assert "frozen:" in log
    after = torch.load(tmp_path / "runs/fine/checkpoints/last.pt", weights_only=True)["backbone"]
    before = public.state_dict()
    first = public.input_convolution
    assert torch.equal(after[first], before[first].flip(1))
    for key, value in after.items():  # the stem, and layer1 and layer2 of two blocks each
        frozen = key.startswith(("input_layer", "body.0.", "body.1.", "body.2.", "body.3."))
        if key != first and value.is_floating_point():
            assert torch.equal(value, before[key]) == frozen, key


def test_another_architecture_is_one_line(train, tmp_path):
    torch.save(create_backbone("mbf", 32, 32, width=0.125).state_dict(), tmp_path / "mbf.pt")
    done = train("name=no", f"init_from={tmp_path / 'mbf.pt'}", "trainer.steps=1")
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert "backbone=mbf" in line
    assert "Traceback" not in done.stderr
    assert not list(Path(tmp_path).glob("runs/no/checkpoints/*.pt"))
