"""What the backbones share: size arithmetic, initialisation, input check, embedding in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from frfw.errors import FrfwError

Size = int | tuple[int, int]


def height_width(size: Size) -> tuple[int, int]:
    """Return (height, width) of an input size given as one number or as a pair."""
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or any(not isinstance(n, int) or n < 16 for n in pair):
        raise FrfwError(
            f"input_size {size!r}: give one whole number of pixels or [height, width], at least 16"
        )
    return pair


def map_size(size: Size, halvings: int = 4) -> tuple[int, int]:
    """Return the feature map's (height, width) after `halvings` strides of 2, each rounding up."""
    height, width = height_width(size)
    step = 2**halvings
    return -(-height // step), -(-width // step)


def scaled(channels: int, width: float) -> int:
    """Return `channels` times `width`, rounded to a multiple of 8, at least 8."""
    if width <= 0:
        raise FrfwError(f"backbone width {width} must be positive (1.0 is the published network)")
    return channels if width == 1 else max(8, round(channels * width / 8) * 8)


def check_input(x: Tensor, size: Size) -> None:
    """Refuse a batch whose shape is not (B, 3, height, width), naming both shapes."""
    height, width = height_width(size)
    if x.ndim != 4 or tuple(x.shape[1:]) != (3, height, width):
        raise FrfwError(
            f"the backbone takes images of shape (B, 3, {height}, {width}), got {tuple(x.shape)}: "
            "resize the images, or create the backbone with another input_size"
        )


def project(linear: nn.Linear, x: Tensor) -> Tensor:
    """Apply `linear` in the precision of its weights, outside autocast.

    Embeddings feed cosines that differ in the fourth decimal; half precision would round them away.
    """
    if torch.is_autocast_enabled(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            return linear(x.to(linear.weight.dtype))
    return linear(x)


def init_kaiming(module: nn.Module) -> None:
    """Draw convolution and linear weights from N(0, 2 / fan_out), as CurricularFace's code does."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
