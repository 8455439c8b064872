"""`frfw.load`: a trained network that turns face images into embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frfw.data import Preprocessing
from frfw.errors import FrfwError
from frfw.training import checkpoint
from frfw.training.build import build_backbone
from frfw.training.distributed import choose_device
from frfw.training.fingerprint import weights_fingerprint
from frfw.training.resume import load_weights


class Embedder:
    """A backbone in evaluation mode with the pre-processing that it was trained with.

    Attributes:
        backbone: (B, 3, H, W) float pixels to (B, dim) embeddings.
        preprocessing: size, channel order, scaling and alignment of the images it expects.
        config: the run's resolved config (a plain dict).
        classes: identities it was trained on.
        path: the checkpoint file.
    """

    def __init__(
        self,
        backbone: nn.Module,
        preprocessing: Preprocessing,
        config: dict[str, Any],
        classes: int,
        path: Path,
        device: torch.device,
    ) -> None:
        self.backbone = backbone.to(device, memory_format=torch.channels_last).eval()
        self.preprocessing, self.config, self.classes = preprocessing, config, classes
        self.path, self.device = path, device

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.backbone.embedding_dim

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with any weight."""
        return weights_fingerprint(self.backbone)

    def forward(self, images: Tensor) -> Tensor:
        """Embed (B, 3, H, W) uint8 RGB; returns (B, dim) float32, not normalised."""
        x = self.preprocessing.pixels(images, self.device, torch.channels_last)
        return self.backbone(x).float()

    @torch.inference_mode()
    def embed(self, images: np.ndarray, flip: bool = False, batch_size: int = 256) -> np.ndarray:
        """Embed face images.

        Args:
            images: (N, H, W, 3) uint8 RGB, or one (H, W, 3) image; H = W = preprocessing.size.
            flip: add the embedding of the mirrored image before normalising.
            batch_size: images at a time.

        Returns:
            (N, dim) float32, each row of L2 norm 1.

        Raises:
            FrfwError: another dtype or shape.
        """
        images = np.asarray(images)
        if images.ndim == 3:
            images = images[None]
        self._check(images)
        rows = [np.zeros((0, self.dim), np.float32)]
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(np.ascontiguousarray(images[start : start + batch_size]))
            x = batch.permute(0, 3, 1, 2)
            y = self.forward(x)
            if flip:
                y = y + self.forward(x.flip(3))
            rows.append(nn.functional.normalize(y, dim=1).cpu().numpy())
        return np.concatenate(rows)

    def _check(self, images: np.ndarray) -> None:
        size = self.preprocessing.size
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise FrfwError(
                f"embed takes (N, {size}, {size}, 3) uint8 RGB images, "
                f"not {images.shape} {images.dtype}"
            )
        if images.shape[1:3] != (size, size):
            raise FrfwError(
                f"images of {images.shape[2]}x{images.shape[1]} pixels: this network takes aligned "
                f"faces of {size}x{size}; make them with `python -m frfw.data align`"
            )


def load(run_or_checkpoint: str | Path, device: str | None = None) -> Embedder:
    """Load a trained network from a run folder (its best checkpoint) or a checkpoint file.

    Args:
        run_or_checkpoint: `runs/NAME` or a `.pt` file of it. Averaged weights (EMA) are taken
            where the run kept them.
        device: auto | cpu | cuda | cuda:N; None is auto.

    Raises:
        FrfwError: nothing there, unreadable, or of another architecture than its config says.
    """
    path = checkpoint.find(run_or_checkpoint)
    content = checkpoint.load(path)
    preprocessing = Preprocessing.from_dict(content["preprocessing"])
    backbone = build_backbone(content["config"], preprocessing.size)
    load_weights(backbone, content["ema"] or content["backbone"], path)
    return Embedder(
        backbone,
        preprocessing,
        content["config"],
        content["data"]["classes"],
        path,
        choose_device(device or "auto"),
    )
