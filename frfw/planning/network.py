"""Bytes and work of a backbone, read off one forward pass of two images on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frfw.backbones import create_backbone
from frfw.backbones.common import Size, height_width
from frfw.backbones.counting import macs, parameters


@dataclass(frozen=True)
class Network:
    """A backbone's numbers.

    Attributes:
        parameters: trained numbers.
        macs: multiply-adds of one image.
        activations: numbers that autograd keeps of one image for backward.
    """

    parameters: int
    macs: int
    activations: int


def measure(options: dict[str, Any], input_size: int) -> Network:
    """Build a backbone of the `backbone` config group and count.

    Args:
        options: arguments of `create_backbone`; an `input_size` that is None is filled in.
        input_size: side of the images in pixels.
    """
    options = {**options, "input_size": options.get("input_size") or input_size}
    network = create_backbone(options.pop("name"), **options)
    kept = _kept(network.train(), options["input_size"])
    return Network(parameters(network), macs(network), kept)


def _kept(network: torch.nn.Module, size: Size) -> int:
    held = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    seen: dict[int, Tensor] = {}  # the tensors stay alive, so that no address comes twice

    def pack(value: Tensor) -> Tensor:
        key = value.untyped_storage()._cdata
        if key not in held:
            seen[key] = value
        return value

    batch = 2
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        output = network(torch.zeros(batch, 3, *height_width(size)))
    del output
    return (
        sum(value.untyped_storage().nbytes() // value.element_size() for value in seen.values())
        // batch
    )
