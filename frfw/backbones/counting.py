"""Parameters and multiply-adds of a backbone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from frfw.backbones.common import Size, height_width
from frfw.backbones.registry import create_backbone


def parameters(network: nn.Module) -> int:
    """Return the number of parameters, trained or not (running statistics do not count)."""
    return sum(p.numel() for p in network.parameters())


def macs(network: nn.Module) -> int:
    """Return the multiply-adds of one image: convolutions, linear layers, attention.

    Norms, activations and additions are not counted, as in the papers' tables.
    """
    weight = next(network.parameters())
    height, width = height_width(network.input_size)
    image = torch.zeros(1, 3, height, width, device=weight.device, dtype=weight.dtype)
    training = network.training
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.eval()(image)
    network.train(training)
    return counter.get_total_flops() // 2  # torch counts a multiply-add as two operations


def describe(
    name: str, embedding_dim: int = 512, input_size: Size = 112, **options: Any
) -> dict[str, Any]:
    """Return name, parameters and macs of `create_backbone(name, ...)`, without its memory."""
    try:
        with torch.device("meta"):
            network = create_backbone(name, embedding_dim, input_size, **options)
            counted = macs(network)
    except (RuntimeError, NotImplementedError):  # some timm models read values while being built
        network = create_backbone(name, embedding_dim, input_size, **options)
        counted = macs(network)
    return {"name": name, "parameters": parameters(network), "macs": counted}
