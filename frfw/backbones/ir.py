"""IR-18 to IR-152, the residual networks as CurricularFace, TFace and AdaFace publish them.

The idea is IResNet's, but the shortcut of the first stage only drops pixels (no convolution), the
last BN has no scale and shift, and CurricularFace's blocks have no BN between the two convolutions
(`inner_norm=False`). The state dicts (`input_layer.*`, `body.*`, `output_layer.*`) load unchanged.
"""

from __future__ import annotations

from torch import Tensor, nn

from frfw.backbones.common import Size, check_input, init_kaiming, map_size, project, scaled
from frfw.backbones.recompute import plain, recomputing

LAYERS = {
    "ir18": (2, 2, 2, 2),
    "ir34": (3, 4, 6, 3),
    "ir50": (3, 4, 14, 3),
    "ir101": (3, 13, 30, 3),
    "ir152": (3, 8, 36, 3),
}


class SqueezeExcite(nn.Module):
    """Scale channels by a gate computed from their means (Hu et al. 2018), reduction 16."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu())
        return x * gate.sigmoid()


class Block(nn.Module):
    """BN, convolution, (BN,) PReLU, convolution with the stride, BN, (SE), plus the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, inner_norm: bool, se: bool) -> None:
        super().__init__()
        self.shortcut_layer = nn.MaxPool2d(1, stride)
        if inputs != outputs:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            *([nn.BatchNorm2d(outputs)] if inner_norm else []),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            *([SqueezeExcite(outputs)] if se else []),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


class IR(nn.Module):
    """(B, 3, H, W) RGB in [-1, 1] -> (B, embedding_dim) float32, not normalised.

    Args: as for `IResNet`, and
        inner_norm: a BN between the two convolutions of a block (AdaFace, TFace: yes;
            CurricularFace: no).
        se: squeeze-and-excitation at the end of each block (IR_SE_* of CurricularFace).
    """

    input_convolution = "input_layer.0.weight"

    def __init__(
        self,
        layers: tuple[int, int, int, int],
        embedding_dim: int = 512,
        input_size: Size = 112,
        width: float = 1.0,
        dropout: float = 0.4,
        checkpointing: bool = False,
        inner_norm: bool = True,
        se: bool = False,
    ) -> None:
        super().__init__()
        self.embedding_dim, self.input_size = embedding_dim, input_size
        self._run = recomputing() if checkpointing else plain
        channels = [scaled(c, width) for c in (64, 64, 128, 256, 512)]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, channels[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(channels[0]),
            nn.PReLU(channels[0]),
        )
        blocks, self.stages = [], {"stem": ("input_layer",)}
        for n, count in enumerate(layers, start=1):
            names = tuple(f"body.{len(blocks) + i}" for i in range(count))
            self.stages[f"layer{n}"] = names
            for i in range(count):
                inputs = channels[n - 1] if i == 0 else channels[n]
                blocks.append(Block(inputs, channels[n], 2 if i == 0 else 1, inner_norm, se))
        self.body = nn.Sequential(*blocks)
        height, length = map_size(input_size)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(channels[4]),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(channels[4] * height * length, embedding_dim),
            nn.BatchNorm1d(embedding_dim, affine=False),
        )
        self.stages["embedding"] = ("output_layer",)
        init_kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.input_size)
        x = self.input_layer(x)
        for block in self.body:
            x = self._run(block, x)
        norm, dropout, flatten, linear, last = self.output_layer
        return last(project(linear, flatten(dropout(norm(x)))))
