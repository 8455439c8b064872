"""IResNet, the residual network of ArcFace, with the state dict of insightface's arcface_torch.

Source: Deng et al., ArcFace (CVPR 2019), section 3.1 (BN-conv-BN-PReLU-conv-BN blocks, output
BN-dropout-FC-BN); Duta et al., Improved Residual Networks (ICPR 2020), for the name.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from frfw.backbones.common import Size, check_input, map_size, project, scaled
from frfw.backbones.recompute import plain, recomputing

# Blocks in each of the four stages.
LAYERS = {
    "iresnet18": (2, 2, 2, 2),
    "iresnet34": (3, 4, 6, 3),
    "iresnet50": (3, 4, 14, 3),
    "iresnet100": (3, 13, 30, 3),
    "iresnet200": (6, 26, 60, 6),
}


class Block(nn.Module):
    """BN, 3x3 convolution, BN, PReLU, 3x3 convolution (here the stride), BN, plus the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(x)) + shortcut


class IResNet(nn.Module):
    """(B, 3, H, W) RGB in [-1, 1] -> (B, embedding_dim) float32, not normalised.

    Args:
        layers: blocks in each of the four stages.
        embedding_dim: length of the embedding.
        input_size: pixels, one number or (height, width); the FC layer depends on it.
        width: factor on all channel counts.
        dropout: probability before the FC layer.
        checkpointing: recompute each block's activations in the backward pass to save memory.
        zero_init_residual: start the last BN of each block at 0, so that a block starts as its
            shortcut (Goyal et al. 2017). The published networks did not.
    """

    input_convolution = "conv1.weight"
    stages: ClassVar[dict[str, tuple[str, ...]]] = {
        "stem": ("conv1", "bn1", "prelu"),
        "layer1": ("layer1",),
        "layer2": ("layer2",),
        "layer3": ("layer3",),
        "layer4": ("layer4",),
        "embedding": ("bn2", "fc", "features"),
    }

    def __init__(
        self,
        layers: tuple[int, int, int, int],
        embedding_dim: int = 512,
        input_size: Size = 112,
        width: float = 1.0,
        dropout: float = 0.0,
        checkpointing: bool = False,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        self.embedding_dim, self.input_size = embedding_dim, input_size
        self._run = recomputing() if checkpointing else plain
        channels = [scaled(c, width) for c in (64, 64, 128, 256, 512)]
        self.conv1 = nn.Conv2d(3, channels[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels[0])
        self.prelu = nn.PReLU(channels[0])
        for n, count in enumerate(layers, start=1):
            blocks = [Block(channels[n - 1], channels[n], stride=2)]
            blocks += [Block(channels[n], channels[n], stride=1) for _ in range(count - 1)]
            self.add_module(f"layer{n}", nn.Sequential(*blocks))
        height, length = map_size(input_size)
        self.bn2 = nn.BatchNorm2d(channels[4])
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels[4] * height * length, embedding_dim)
        self.features = nn.BatchNorm1d(embedding_dim)
        self._initialise(zero_init_residual)

    def _initialise(self, zero_init_residual: bool) -> None:
        # As arcface_torch: convolutions N(0, 0.1^2), the FC layer torch's default, and the last
        # scale fixed at 1 (the head normalises, a learnt scale would only compete with it).
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.normal_(part.weight, 0, 0.1)
            elif isinstance(part, Block) and zero_init_residual:
                nn.init.zeros_(part.bn3.weight)
        self.features.weight.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.input_size)
        x = self.prelu(self.bn1(self.conv1(x)))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in layer:
                x = self._run(block, x)
        x = self.dropout(torch.flatten(self.bn2(x), 1))
        return self.features(project(self.fc, x))
