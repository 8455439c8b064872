"""The wider MobileFaceNets of insightface's arcface_torch (`mbf`, `mbf_large`), same state dict.

`mbf` has twice the paper's channels and grouped instead of depthwise second layer: 2.06 M
parameters, 437 M multiply-adds.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from frfw.backbones.common import Size, check_input, init_kaiming, map_size, project, scaled

# (blocks, scale on the paper's channels) of each network
VARIANTS = {"mbf": ((1, 4, 6, 2), 2), "mbf_large": ((2, 8, 12, 4), 4)}


class ConvNorm(nn.Module):
    """Convolution, BN and, unless linear, PReLU, under the public name `layers`."""

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
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            *([] if linear else [nn.PReLU(outputs)]),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Bottleneck(nn.Module):
    """Inverted residual with `hidden` channels between; a shortcut at stride 1."""

    def __init__(self, inputs: int, outputs: int, hidden: int, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1
        self.layers = nn.Sequential(
            ConvNorm(inputs, hidden),
            ConvNorm(hidden, hidden, 3, stride, 1, groups=hidden),
            ConvNorm(hidden, outputs, linear=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class Repeated(nn.Module):
    """`count` bottlenecks of stride 1, under the public name `layers`."""

    def __init__(self, channels: int, hidden: int, count: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *[Bottleneck(channels, channels, hidden, stride=1) for _ in range(count)]
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class GlobalDepthwise(nn.Module):
    """Global depthwise convolution, FC without bias, BN; the public numbering of `layers`."""

    def __init__(self, channels: int, kernel: tuple[int, int], dim: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvNorm(channels, channels, kernel, groups=channels, linear=True),
            nn.Sequential(nn.Flatten(), nn.Dropout(dropout)),
            nn.Linear(channels, dim, bias=False),
            nn.BatchNorm1d(dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        pool, flatten, linear, norm = self.layers
        return norm(project(linear, flatten(pool(x))))


class WideMobileFaceNet(nn.Module):
    """(B, 3, H, W) RGB in [-1, 1] -> (B, embedding_dim) float32, not normalised.

    Args:
        blocks: bottlenecks in the four stages (the first: 1 means one grouped convolution).
        scale: factor on the paper's channel counts between the bottlenecks.
        embedding_dim, input_size, width, dropout: as for `MobileFaceNet`.
    """

    input_convolution = "layers.0.layers.0.weight"
    stages: ClassVar[dict[str, tuple[str, ...]]] = {
        "stem": ("layers.0", "layers.1"),
        "layer1": ("layers.2", "layers.3"),
        "layer2": ("layers.4", "layers.5"),
        "layer3": ("layers.6", "layers.7"),
        "embedding": ("conv_sep", "features"),
    }

    def __init__(
        self,
        blocks: tuple[int, int, int, int],
        scale: int,
        embedding_dim: int = 512,
        input_size: Size = 112,
        width: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding_dim, self.input_size = embedding_dim, input_size
        c64, c128, c256, c512 = (scaled(c, width) for c in (64, 128, 256, 512))
        narrow, wide = c64 * scale, c128 * scale
        second = (
            ConvNorm(narrow, narrow, 3, 1, 1, groups=c64)
            if blocks[0] == 1
            else Repeated(narrow, c128, blocks[0])
        )
        self.layers = nn.ModuleList(
            [
                ConvNorm(3, narrow, 3, 2, 1),
                second,
                Bottleneck(narrow, narrow, c128, stride=2),
                Repeated(narrow, c128, blocks[1]),
                Bottleneck(narrow, wide, c256, stride=2),
                Repeated(wide, c256, blocks[2]),
                Bottleneck(wide, wide, c512, stride=2),
                Repeated(wide, c256, blocks[3]),
            ]
        )
        self.conv_sep = ConvNorm(wide, c512)
        self.features = GlobalDepthwise(c512, map_size(input_size), embedding_dim, dropout)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.input_size)
        for layer in self.layers:
            x = layer(x)
        return self.features(self.conv_sep(x))
