"""State dicts of public checkpoints load unchanged and give the public code's embeddings."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from frfw import create_backbone

NETWORKS = {
    "r18": "iresnet18",
    "r50": "iresnet50",
    "r100": "iresnet100",
    "mbf": "mbf",
    "mobilefacenet_curricularface": "mobilefacenet",
}


@pytest.mark.parametrize(("public", "ours"), NETWORKS.items())
def test_keys_shapes_and_parameters(public, ours, reference):
    with torch.device("meta"):
        network = create_backbone(ours)
    shapes = [[key, list(value.shape)] for key, value in network.state_dict().items()]
    # the order of the keys is part of the layout too: some tools zip them
    assert shapes == reference[public]["keys"]
    assert sum(p.numel() for p in network.parameters()) == reference[public]["parameters"]


@pytest.mark.parametrize(
    ("public", "ours"),
    [
        pytest.param(p, o, marks=pytest.mark.slow if p in ("r50", "r100") else ())
        for p, o in NETWORKS.items()
    ],
)
def test_outputs(public, ours, reference, reference_input, fill):
    with torch.device("meta"):
        network = create_backbone(ours).eval()
    dtypes = {key: value.dtype for key, value in network.state_dict().items()}
    state = {k: fill(k, tuple(shape), dtypes[k]) for k, shape in reference[public]["keys"]}
    network.load_state_dict(state, strict=True, assign=True)
    with torch.no_grad():
        ours = normalize(network(reference_input))
    expected = normalize(torch.from_numpy(reference[public]["output"]).float())
    assert ((ours - expected).norm(dim=1) / expected.norm(dim=1)).max() < 1e-4


# From the published definitions: AdaFace's net.py and CurricularFace's model_irse.py.
IR_KEYS = {
    "input_layer.0.weight": (64, 3, 3, 3),
    "input_layer.2.weight": (64,),
    "body.0.res_layer.0.weight": (64,),
    "body.0.res_layer.1.weight": (64, 64, 3, 3),
    "body.3.shortcut_layer.0.weight": (128, 64, 1, 1),
    "body.3.shortcut_layer.1.running_var": (128,),
    "output_layer.0.weight": (512,),
    "output_layer.3.weight": (512, 25088),
    "output_layer.3.bias": (512,),
    "output_layer.4.running_mean": (512,),
}


@pytest.mark.parametrize(
    ("options", "second", "count"),
    [
        ({}, {"res_layer.3.weight": (64,), "res_layer.4.weight": (64, 64, 3, 3)}, 6),
        ({"inner_norm": False}, {"res_layer.2.weight": (64,), "res_layer.4.bias": (64,)}, 5),
        ({"inner_norm": False, "se": True}, {"res_layer.5.fc1.weight": (4, 64, 1, 1)}, 6),
    ],
    ids=["adaface", "curricularface", "curricularface-se"],
)
def test_ir_layouts(options, second, count):
    with torch.device("meta"):
        network = create_backbone("ir50", **options)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    expected = {**IR_KEYS, **{f"body.0.{key}": shape for key, shape in second.items()}}
    assert {key: shapes.get(key) for key in expected} == expected
    assert "body.0.shortcut_layer.0.weight" not in shapes  # the first stage only drops pixels
    assert "output_layer.4.weight" not in shapes  # the last BN has no scale and shift
    assert len(network.body[0].res_layer) == count
    assert len(network.body) == 24
