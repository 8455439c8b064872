"""What is trained: backbone, classifier and an optional embedding loss, placed on a device."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from frfw.data import Preprocessing
from frfw.training.distributed import Ranks


@dataclass
class LossValue:
    """What the losses made of one batch.

    Attributes:
        total: scalar to run backward from; its mean over ranks is the global loss.
        head: the classifier's output, or None when an embedding loss is trained alone.
        extra: the embedding loss alone (detached scalar), or None.
    """

    total: Tensor
    head: Any | None
    extra: Tensor | None


class FaceModel(nn.Module):
    """Backbone, head and extra loss; knows how to place pixels and how to form the loss.

    Args:
        backbone: (B, 3, H, W) float pixels in [-1, 1] to (B, D) embeddings.
        head: the classifier, or None.
        extra: an embedding loss, or None; `extra_weight` is its factor when there is a head.
        ranks: this process among its peers.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module | None,
        extra: nn.Module | None,
        extra_weight: float,
        ranks: Ranks,
        *,
        channels_last: bool = True,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.layout, self.ranks, self.extra_weight = layout, ranks, extra_weight
        self.backbone = backbone.to(ranks.device, memory_format=layout)
        self.head = head.to(ranks.device) if head is not None else None
        self.extra = extra.to(ranks.device) if extra is not None else None
        # Kept out of the module tree: these only wrap the backbone above.
        self._wrapped = (self._wrap(compiled),)

    def _wrap(self, compiled: bool) -> nn.Module:
        module = torch.compile(self.backbone) if compiled else self.backbone
        trainable = any(p.requires_grad for p in self.backbone.parameters())
        if self.ranks.world == 1 or not trainable:
            return module
        ids = [self.ranks.device.index] if self.ranks.device.type == "cuda" else None
        # Buffers are averaged before saving and evaluating (batchnorm.py), not copied each step.
        names = inspect.signature(DistributedDataParallel).parameters
        key = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
        return DistributedDataParallel(module, device_ids=ids, **{key: False})

    @property
    def wrapped(self) -> nn.Module:
        """The backbone as the training loop calls it: compiled and under DDP where asked for."""
        return self._wrapped[0]

    @property
    def loss_modules(self) -> list[nn.Module]:
        """The classifier and the extra loss, those that there are."""
        return [m for m in (self.head, self.extra) if m is not None]

    @property
    def needs_whole_batch(self) -> bool:
        """Whether a loss must see the global batch at once (t, OHEM, triplets)."""
        return self.extra is not None or bool(getattr(self.head, "needs_whole_batch", False))

    def pixels(self, images: Tensor, how: Preprocessing) -> Tensor:
        """Turn (B, 3, H, W) uint8 RGB into what the backbone takes, float32 on the device."""
        return how.pixels(images, self.ranks.device, self.layout)

    def loss(self, embeddings: Tensor, labels: Tensor) -> LossValue:
        """Return the loss of (B, D) embeddings and (B,) labels."""
        head = extra = None
        total = embeddings.new_zeros((), dtype=torch.float32)
        if self.head is not None:
            head = self.head(embeddings, labels)
            total = head.loss
        if self.extra is not None:
            extra = self.extra(embeddings, labels, group=self.ranks.group)
            total = total + self.extra_weight * extra
        return LossValue(total, head, None if extra is None else extra.detach())
