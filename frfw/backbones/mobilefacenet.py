"""MobileFaceNet as the paper has it, with the state dict of CurricularFace's and TFace's code.

Source: Chen et al., MobileFaceNets (CCBR 2018), table 1. With a 512-d embedding: 1.20 M
parameters, 221 M multiply-adds.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from frfw.backbones.common import Size, check_input, init_kaiming, map_size, project, scaled


class ConvNorm(nn.Module):
    """Convolution, BN and, unless linear, PReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.prelu = nn.Identity() if linear else nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    """Inverted residual: 1x1 up to `hidden`, depthwise 3x3, linear 1x1; a shortcut at stride 1."""

    def __init__(self, inputs: int, outputs: int, hidden: int, stride: int) -> None:
        super().__init__()
        self.conv = ConvNorm(inputs, hidden)
        self.conv_dw = ConvNorm(hidden, hidden, 3, stride, 1, groups=hidden)
        self.project = ConvNorm(hidden, outputs, linear=True)
        self.residual = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.conv_dw(self.conv(x)))
        return out + x if self.residual else out


class Repeated(nn.Module):
    """`count` bottlenecks of stride 1, under the name `model` that public checkpoints use."""

    def __init__(self, channels: int, hidden: int, count: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            *[Bottleneck(channels, channels, hidden, stride=1) for _ in range(count)]
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class GlobalDepthwise(nn.Module):
    """Global depthwise convolution (a weight for each place of the map), then FC and BN."""

    def __init__(self, channels: int, kernel: tuple[int, int], dim: int, dropout: float) -> None:
        super().__init__()
        self.conv_6_dw = ConvNorm(channels, channels, kernel, groups=channels, linear=True)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, dim, bias=False)
        self.bn = nn.BatchNorm1d(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(project(self.linear, self.dropout(self.conv_6_dw(x).flatten(1))))


class MobileFaceNet(nn.Module):
    """(B, 3, H, W) RGB in [-1, 1] -> (B, embedding_dim) float32, not normalised.

    Args:
        embedding_dim: length of the embedding (the paper's own has 128, public code 512).
        input_size: pixels, one number or (height, width); the global depthwise kernel is the map.
        width: factor on all channel counts.
        dropout: probability before the FC layer.
    """

    input_convolution = "conv1.conv.weight"
    stages: ClassVar[dict[str, tuple[str, ...]]] = {
        "stem": ("conv1", "conv2_dw"),
        "layer1": ("conv_23", "conv_3"),
        "layer2": ("conv_34", "conv_4"),
        "layer3": ("conv_45", "conv_5"),
        "embedding": ("conv_6_sep", "output_layer"),
    }

    def __init__(
        self,
        embedding_dim: int = 512,
        input_size: Size = 112,
        width: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding_dim, self.input_size = embedding_dim, input_size
        c64, c128, c256, c512 = (scaled(c, width) for c in (64, 128, 256, 512))
        self.conv1 = ConvNorm(3, c64, 3, 2, 1)
        self.conv2_dw = ConvNorm(c64, c64, 3, 1, 1, groups=c64)
        self.conv_23 = Bottleneck(c64, c64, c128, stride=2)
        self.conv_3 = Repeated(c64, c128, 4)
        self.conv_34 = Bottleneck(c64, c128, c256, stride=2)
        self.conv_4 = Repeated(c128, c256, 6)
        self.conv_45 = Bottleneck(c128, c128, c512, stride=2)
        self.conv_5 = Repeated(c128, c256, 2)
        self.conv_6_sep = ConvNorm(c128, c512)
        self.output_layer = GlobalDepthwise(c512, map_size(input_size), embedding_dim, dropout)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.input_size)
        x = self.conv2_dw(self.conv1(x))
        x = self.conv_3(self.conv_23(x))
        x = self.conv_4(self.conv_34(x))
        x = self.conv_5(self.conv_45(x))
        return self.output_layer(self.conv_6_sep(x))
