"""Sizes, options, precision, memory formats and gradients of the backbones."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frfw.backbones import backbone_names, create_backbone
from frfw.backbones.counting import describe, macs
from frfw.errors import FrfwError

TINY = {"mobilefacenet": 0.25, "mbf": 0.125, "mbf_large": 0.125, "iresnet18": 0.125, "ir18": 0.125}


def tiny(name: str, **options):
    torch.manual_seed(0)
    return create_backbone(name, 32, options.pop("input_size", 32), width=TINY[name], **options)


@pytest.mark.parametrize("name", TINY)
def test_shape_dtype_and_trainable(name):
    network = tiny(name)
    out = network(torch.rand(4, 3, 32, 32) * 2 - 1)
    assert out.shape == (4, 32)
    assert out.dtype == torch.float32
    assert (network.embedding_dim, network.input_size) == (32, 32)
    out.square().mean().backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


@settings(max_examples=10, deadline=None)
@given(
    st.sampled_from(list(TINY)), st.integers(16, 70), st.integers(16, 70), st.sampled_from([1, 7])
)
def test_any_input_size_and_dimension(name, height, width, dim):
    network = create_backbone(name, dim, (height, width), width=TINY[name]).eval()
    assert network(torch.zeros(1, 3, height, width)).shape == (1, dim)


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        ("mobilefacenet", 1_200_512, 221e6),
        ("mbf", 2_059_520, 437.5e6),
        ("iresnet50", 43_590_848, 0),
    ],
)
def test_published_counts(name, parameters, multiply_adds):
    row = describe(name)
    assert row["parameters"] == parameters
    assert not multiply_adds or abs(row["macs"] / multiply_adds - 1) < 2e-3


def test_macs_by_hand():
    network = tiny("mobilefacenet")
    first = 16 * 16 * 16 * 27  # 32x32 halved, 16 channels, 3x3x3 kernel
    without = copy.deepcopy(network)
    without.conv1.conv = torch.nn.Conv2d(3, 16, 1, stride=2, bias=False)
    assert macs(network) - macs(without) == first - 16 * 16 * 16 * 3


@pytest.mark.parametrize("name", ["iresnet18", "ir18"])
def test_checkpointing_changes_nothing(name):
    """Same outputs, gradients, running statistics and step counts, through dropout as well."""
    x = torch.randn(4, 3, 32, 32)
    results = []
    for checkpointing in (False, True):
        network = tiny(name, checkpointing=checkpointing, dropout=0.3).train()
        torch.manual_seed(1)
        out = network(x)
        out.square().sum().backward()
        grads = {k: p.grad for k, p in network.named_parameters() if p.grad is not None}
        results.append((out, grads, dict(network.named_buffers())))
    for plain, recomputed in zip(*(({"out": r[0]}, r[1], r[2]) for r in results)):
        assert plain.keys() == recomputed.keys()
        for key in plain:
            torch.testing.assert_close(plain[key], recomputed[key], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", TINY)
def test_channels_last_gives_the_same(name):
    network, x = tiny(name).eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(x)
        last = network.to(memory_format=torch.channels_last)
        torch.testing.assert_close(
            last(x.contiguous(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("name", TINY)
def test_bf16_autocast_gives_float32_embeddings(name):
    network, x = tiny(name).eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(x)
    assert half.dtype == torch.float32
    assert torch.cosine_similarity(half, expected).min() > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"checkpointing": True}])
def test_compile_traces_whole(options):
    network, x = tiny("iresnet18", **options), torch.randn(4, 3, 32, 32)
    expected = copy.deepcopy(network)(x)
    compiled = torch.compile(network, backend="aot_eager", fullgraph=not options)
    out = compiled(x)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    out.sum().backward()


def test_double_precision_stays_double():
    assert tiny("iresnet18").double().eval()(torch.zeros(1, 3, 32, 32).double()).dtype == (
        torch.float64
    )


def test_zero_init_residual_starts_as_the_shortcut():
    network = tiny("iresnet18", zero_init_residual=True).eval()
    block, x = network.layer1[1], torch.randn(1, 8, 4, 4)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("name", TINY)
def test_stages_cover_every_parameter_once(name):
    network = tiny(name)
    prefixes = [m for modules in network.stages.values() for m in modules]
    for key, _ in network.named_parameters():
        hits = [p for p in prefixes if key == p or key.startswith(p + ".")]
        assert len(hits) == 1, key
    assert network.state_dict()[network.input_convolution].shape[1] == 3


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"name": "iresnet51"}, ["no backbone 'iresnet51'", "'iresnet50'"]),
        ({"name": "mobilefacenet", "drop": 0.1}, ["no option 'drop'", "'dropout'"]),
        ({"name": "mobilefacenet", "dropout": 1.0}, ["dropout 1.0"]),
        ({"name": "mobilefacenet", "input_size": 8}, ["input_size 8"]),
        ({"name": "mobilefacenet", "embedding_dim": 0}, ["embedding_dim 0"]),
        ({"name": "mobilefacenet", "width": -1}, ["width -1"]),
        ({"name": "timm/resnet19"}, ["no model 'resnet19'", "'timm/resnet18'"]),
        ({"name": "timm/resnet18", "pooling": "max"}, ["pooling 'max'"]),
    ],
)
def test_bad_arguments_are_explained(call, words):
    with pytest.raises(FrfwError) as caught:
        create_backbone(**call)
    assert all(word in str(caught.value) for word in words)


def test_wrong_image_size_is_explained():
    with pytest.raises(FrfwError, match=r"\(B, 3, 32, 32\), got \(1, 3, 48, 48\)"):
        tiny("mobilefacenet")(torch.zeros(1, 3, 48, 48))


def test_names():
    assert {"iresnet18", "iresnet34", "iresnet50", "iresnet100", "iresnet200"} <= set(
        backbone_names()
    )


def test_checkpointing_holds_any_module_with_running_statistics():
    from frfw.backbones.recompute import recomputing

    class Norm(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.momentum = 0.5
            for name in ("running_mean", "running_var", "num_batches_tracked"):
                self.register_buffer(name, torch.zeros(()))

        def forward(self, x):
            if self.training:
                self.running_mean.lerp_(x.detach().mean(), self.momentum)
                self.num_batches_tracked.add_(1)
            return x * 2

    norm, x = Norm(), torch.ones(3, requires_grad=True)
    recomputing()(norm, x).sum().backward()
    assert (norm.running_mean, norm.num_batches_tracked, norm.momentum) == (0.5, 1, 0.5)
