"""timm models as backbones: sizes, pooling, DDP-safe parameters, stages."""

from __future__ import annotations

import pytest
import torch

from frfw.backbones import create_backbone

# a plain CNN, a CNN with layers after its pooling, a token model, a window model
MODELS = [
    "test_resnet",
    "mobilenetv3_small_050",
    pytest.param("vit_tiny_patch16_224", marks=pytest.mark.slow),
    pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("model", MODELS)
def test_any_model_trains_at_112(model):
    network = create_backbone(f"timm/{model}", 64)
    out = network(torch.randn(2, 3, 112, 112))
    assert out.shape == (2, 64)
    assert out.dtype == torch.float32
    out.square().sum().backward()
    # DDP stops on trainable parameters that get no gradient
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
    assert next(iter(network.stages)) == "stem"
    assert list(network.stages)[-1] == "embedding"


@pytest.mark.parametrize("size", [64, (112, 96)])
def test_other_input_sizes(size):
    network = create_backbone("timm/test_resnet", 16, size).eval()
    height, width = (size, size) if isinstance(size, int) else size
    assert network(torch.zeros(1, 3, height, width)).shape == (1, 16)


def test_pooling_choices():
    flat = create_backbone("timm/test_resnet", 16, pooling="flatten")
    pooled = create_backbone("timm/test_resnet", 16, pooling="model")
    assert flat.fc.in_features == 16 * pooled.fc.in_features  # a 4 x 4 map at 112 pixels


def test_loads_its_own_state_strictly():
    first = create_backbone("timm/test_resnet", 16).eval()
    second = create_backbone("timm/test_resnet", 16).eval()
    second.load_state_dict(first.state_dict(), strict=True)
    x = torch.randn(1, 3, 112, 112)
    assert torch.equal(first(x), second(x))
