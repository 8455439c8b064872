"""The IR networks against a forward pass written out from the published definitions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from frfw.backbones import create_backbone


def norm(x, state, key):
    names = ("running_mean", "running_var", "weight", "bias")
    mean, var, weight, bias = (state.get(f"{key}.{n}") for n in names)
    return F.batch_norm(x, mean, var, weight, bias, eps=1e-5)


def forward(x, state, strides, inner_norm, se):
    """input_layer, body, output_layer: CurricularFace's model_irse.py and AdaFace's net.py."""
    x = F.conv2d(x, state["input_layer.0.weight"], padding=1)
    x = F.prelu(norm(x, state, "input_layer.1"), state["input_layer.2.weight"])
    for n, stride in enumerate(strides):
        block = f"body.{n}."
        if f"{block}shortcut_layer.0.weight" in state:
            shortcut = F.conv2d(x, state[f"{block}shortcut_layer.0.weight"], stride=stride)
            shortcut = norm(shortcut, state, f"{block}shortcut_layer.1")
        else:
            shortcut = x[:, :, ::stride, ::stride]
        x = norm(x, state, f"{block}res_layer.0")
        x = F.conv2d(x, state[f"{block}res_layer.1.weight"], padding=1)
        at = 2
        if inner_norm:
            x, at = norm(x, state, f"{block}res_layer.2"), 3
        x = F.prelu(x, state[f"{block}res_layer.{at}.weight"])
        weight = state[f"{block}res_layer.{at + 1}.weight"]
        x = norm(F.conv2d(x, weight, stride=stride, padding=1), state, f"{block}res_layer.{at + 2}")
        if se:
            gate = F.adaptive_avg_pool2d(x, 1)
            gate = F.relu(F.conv2d(gate, state[f"{block}res_layer.{at + 3}.fc1.weight"]))
            x = x * torch.sigmoid(F.conv2d(gate, state[f"{block}res_layer.{at + 3}.fc2.weight"]))
        x = x + shortcut
    x = norm(x, state, "output_layer.0").flatten(1)
    x = F.linear(x, state["output_layer.3.weight"], state["output_layer.3.bias"])
    return norm(x, state, "output_layer.4")


@pytest.mark.parametrize(("inner_norm", "se"), [(True, False), (False, False), (False, True)])
def test_forward_by_hand(inner_norm, se, fill):
    network = create_backbone("ir18", 16, 32, width=0.25, inner_norm=inner_norm, se=se).eval()
    state = {k: fill(k, tuple(v.shape), v.dtype) for k, v in network.state_dict().items()}
    network.load_state_dict(state)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = forward(x, state, [2, 1] * 4, inner_norm, se)
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)
