"""init_from: whose weights a file holds, how they are read, turned to RGB, and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from frfw.backbones import create_backbone
from frfw.errors import FrfwError
from frfw.training.finetune import load_backbone, read_weights
from frfw.training.finetune.public import recognise, unwrap

NAMES = ["iresnet18", "iresnet50", "iresnet100", "mbf", "mbf_large", "mobilefacenet", "ir50"]


def state_of(name: str, **options) -> dict:
    with torch.device("meta"):
        return create_backbone(name, **options).state_dict()


def small(name: str = "iresnet18", seed: int = 0, **options):
    torch.manual_seed(seed)
    return create_backbone(name, 16, 32, width=0.125, **options).eval()


@pytest.mark.parametrize("name", NAMES)
def test_layouts_are_recognised(name):
    assert recognise(state_of(name)).backbone == name


@pytest.mark.parametrize(
    ("options", "channels", "certain"),
    [
        ({}, "bgr", False),  # AdaFace, or TFace
        ({"inner_norm": False}, "rgb", True),  # CurricularFace
        ({"inner_norm": False, "se": True}, "rgb", True),
    ],
)
def test_ir_layouts_differ_by_their_blocks(options, channels, certain):
    layout = recognise(state_of("ir101", **options))
    assert (layout.backbone, layout.options) == ("ir101", options)
    assert (layout.channels, layout.certain) == (channels, certain)


def test_something_else_is_not_recognised():
    assert recognise({"fc.weight": torch.zeros(2, 2)}) is None


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"state_dict_backbone": {f"module.{k}": v for k, v in s.items()}, "epoch": 1},
        lambda s: {
            "state_dict": {
                **{f"model.{k}": v for k, v in s.items()},
                "head.kernel": torch.zeros(2, 2),
            }
        },
    ],
    ids=["bare", "dataparallel", "holder", "arcface_torch", "lightning"],
)
@pytest.mark.parametrize("name", ["iresnet18", "ir18", "mobilefacenet", "mbf"])
def test_wrapped_files_load(tmp_path, wrap, name):
    source, target = small(name), small(name, seed=1)
    torch.save(wrap(source.state_dict()), tmp_path / "public.pth")
    load_backbone(target, read_weights(tmp_path / "public.pth"), channels="rgb")
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(source(x), target(x))
    assert unwrap(wrap(source.state_dict()))[0].keys() == source.state_dict().keys()


def test_safetensors_load(tmp_path):
    source, target = small(), small(seed=1)
    save_file(source.state_dict(), tmp_path / "public.safetensors")
    load_backbone(target, read_weights(tmp_path / "public.safetensors"))
    assert torch.equal(source.fc.weight, target.fc.weight)


@pytest.mark.parametrize("name", ["iresnet18", "ir18", "mobilefacenet", "mbf"])
def test_bgr_weights_give_the_same_embeddings_for_rgb(tmp_path, name):
    source, target = small(name), small(name, seed=1)
    torch.save(source.state_dict(), tmp_path / "bgr.pt")
    load_backbone(target, read_weights(tmp_path / "bgr.pt"), channels="bgr")
    source, target = source.double(), target.double()  # in float32 the order of sums tells
    bgr = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(target(bgr.flip(1)), source(bgr), rtol=1e-9, atol=1e-9)


def test_adaface_is_taken_for_bgr_and_says_so(tmp_path):
    source, target = small("ir18"), small("ir18", seed=1)
    torch.save(source.state_dict(), tmp_path / "adaface.ckpt")
    lines = " ".join(load_backbone(target, read_weights(tmp_path / "adaface.ckpt")))
    assert "turned to RGB" in lines
    assert "TFace" in lines
    key = target.input_convolution
    assert torch.equal(target.state_dict()[key], source.state_dict()[key].flip(1))


def test_our_checkpoint_prefers_averaged_weights(tmp_path):
    plain, averaged, target = small(), small(seed=1), small(seed=2)
    content = {
        "format": 1,
        "backbone": plain.state_dict(),
        "ema": averaged.state_dict(),
        "preprocessing": {"channels": "rgb"},
        "config": {"backbone": {"name": "iresnet18"}},
    }
    torch.save(content, tmp_path / "last.pt")
    weights = read_weights(tmp_path / "last.pt")
    load_backbone(target, weights)
    assert weights.checkpoint is not None
    assert torch.equal(target.fc.weight, averaged.fc.weight)


def test_timm_weights_fill_the_timm_part(tmp_path):
    import timm

    source = timm.create_model("test_resnet", num_classes=10)
    torch.save(source.state_dict(), tmp_path / "timm.pth")
    target = create_backbone("timm/test_resnet", 16)
    before = target.fc.weight.clone()
    load_backbone(target, read_weights(tmp_path / "timm.pth"))
    assert torch.equal(target.model.conv1[0].weight, source.conv1[0].weight)
    assert torch.equal(target.fc.weight, before)


def test_our_timm_backbone_comes_back_whole(tmp_path):
    source, target = (create_backbone("timm/test_resnet", 16) for _ in range(2))
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    load_backbone(target, read_weights(tmp_path / "w.safetensors"))
    assert torch.equal(target.fc.weight, source.fc.weight)
    assert torch.equal(target.model.conv1[0].weight, source.model.conv1[0].weight)


def test_another_architecture_names_keys_and_the_right_backbone(tmp_path):
    torch.save(create_backbone("mobilefacenet", 128).state_dict(), tmp_path / "w.pt")
    with pytest.raises(FrfwError) as caught:
        load_backbone(small("iresnet18"), read_weights(tmp_path / "w.pt"))
    text = str(caught.value)
    assert "conv1.weight is not in the file" in text
    assert "conv1.conv.weight is only in the file" in text
    assert "backbone=mobilefacenet backbone.embedding_dim=128" in text


def test_another_size_names_both_shapes(tmp_path):
    torch.save(small().state_dict(), tmp_path / "w")
    other = create_backbone("iresnet18", 16, 64, width=0.125)
    with pytest.raises(FrfwError, match=r"fc.weight is \(16, 256\) in the file, \(16, 1024\) here"):
        load_backbone(other, read_weights(tmp_path / "w"))


def test_not_strict_takes_what_fits(tmp_path):
    source = small()
    torch.save(source.state_dict(), tmp_path / "w.pt")
    other = create_backbone("iresnet18", 8, 32, width=0.125)
    lines = load_backbone(other, read_weights(tmp_path / "w.pt"), strict=False)
    assert torch.equal(other.conv1.weight, source.conv1.weight)
    assert "tensors" in lines[0]


class Callback:
    """As a trainer's own object in a Lightning checkpoint."""

    def __init__(self):
        self.best, self.log = {"k": [1, 2]}, {3, 4}


class Settings(dict):
    pass


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_training_file_loads_without_its_objects(tmp_path):
    source, target, touched = small(), small(seed=1), tmp_path / "touched"
    content = {
        "epoch": 3,
        "callbacks": {Callback: Callback()},
        "hyper_parameters": Settings(lr=0.1),
        "loops": [Malicious(touched), np.float64(3), Path("a")],
        "state_dict": {f"model.{k}": v for k, v in source.state_dict().items()},
    }
    for number, new_format in enumerate((True, False)):
        path = tmp_path / f"{number}.ckpt"
        torch.save(content, path, _use_new_zipfile_serialization=new_format)
        load_backbone(target, read_weights(path))
        assert torch.equal(target.fc.weight, source.fc.weight)
    assert not touched.exists()


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda p: p.write_bytes(b"PK\x03\x04 cut"), "cannot be read as weights"),
        (lambda p: p.write_bytes(b"\x80\x02 neither"), "cannot be read as weights"),
        (lambda p: torch.save({"epoch": 3}, p), "holds no state dict"),
        (lambda p: torch.save(Callback(), p), "holds no state dict"),
        (lambda p: None, "does not exist"),
    ],
    ids=["truncated", "not torch", "no tensors", "objects alone", "absent"],
)
def test_bad_files_are_explained(tmp_path, write, words):
    path = tmp_path / "weights.pt"
    write(path)
    with pytest.raises(FrfwError, match=words):
        read_weights(path)


def test_bad_channels():
    with pytest.raises(FrfwError, match=r"finetune.channels=gbr"):
        load_backbone(small(), None, channels="gbr")
