"""One optimizer step's forward and backward, with exact gradient accumulation."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from frfw.data import Preprocessing
from frfw.training.finetune.pull import Pull
from frfw.training.model import FaceModel, LossValue
from frfw.training.precision import Precision


@dataclass
class StepResult:
    """What a step saw: `loss` (scalar, this rank's share), `value` and `embeddings` (detached)."""

    loss: Tensor
    value: LossValue
    embeddings: Tensor


class ForwardBackward:
    """Computes the gradients of one global batch, given as this rank's micro-batches.

    Losses that add up over samples run backward micro-batch by micro-batch. Losses that must see
    the whole batch (t, OHEM, triplets) take two passes: embeddings of all micro-batches without a
    graph, the loss on all of them, then each micro-batch once more with the gradient of its
    embeddings (gradient caching, Gao et al. 2021, arXiv:2101.06983). Either equals the big batch.

    Args:
        model: what is trained.
        precision: of the backbone.
        preprocessing: what turns uint8 into the backbone's pixels.
        seed: dropout depends on (seed, step, micro-batch, rank) alone.
        pull: fine-tuning's term towards the initial embeddings, or None.
    """

    def __init__(
        self,
        model: FaceModel,
        precision: Precision,
        preprocessing: Preprocessing,
        seed: int,
        pull: Pull | None = None,
    ) -> None:
        self.model, self.precision, self.seed, self.pull = model, precision, seed, pull
        self._preprocessing = preprocessing

    def __call__(self, micro_batches: Sequence[Any], step: int) -> StepResult:
        """Leave the gradients of the global batch in the parameters.

        Args:
            micro_batches: objects with `images` (m, 3, H, W) uint8 and `labels` (m,) int64.
            step: optimizer step, counted from 0.
        """
        if len(micro_batches) > 1 and self.model.needs_whole_batch:
            result = self._two_passes(micro_batches, step)
        else:
            result = self._one_pass(micro_batches, step)
        if self.model.head is not None:
            self.model.head.reduce_gradients()
        return result

    def _one_pass(self, micro_batches: Sequence[Any], step: int) -> StepResult:
        count = len(micro_batches)
        losses, embeddings, value = [], [], None
        for number, batch in enumerate(micro_batches):
            with self._sync_only(number == count - 1):
                x, pulled = self._embed(batch, step, number)
                value = self.model.loss(x, batch.labels.to(x.device, non_blocking=True))
                total = value.total if pulled is None else value.total + pulled
                self.precision.scaler.scale(total / count).backward()
            losses.append(value.total.detach())
            embeddings.append(x.detach())
        return StepResult(torch.stack(losses).mean(), value, torch.cat(embeddings))

    def _two_passes(self, micro_batches: Sequence[Any], step: int) -> StepResult:
        buffers = [b.clone() for b in self.model.backbone.buffers()]
        with torch.no_grad():
            parts = [self._embed(b, step, number)[0] for number, b in enumerate(micro_batches)]
            for buffer, before in zip(self.model.backbone.buffers(), buffers):
                buffer.copy_(before)  # the second pass moves batch norm's statistics, once
        x = torch.cat(parts).requires_grad_()
        labels = torch.cat([b.labels for b in micro_batches]).to(x.device, non_blocking=True)
        value = self.model.loss(x, labels)
        self.precision.scaler.scale(value.total).backward()
        pieces = x.grad.split([len(p) for p in parts])
        for number, (batch, gradient) in enumerate(zip(micro_batches, pieces)):
            with self._sync_only(number == len(parts) - 1):
                again, pulled = self._embed(batch, step, number)
                surrogate = (again * gradient).sum()  # its gradient in `again` is `gradient`
                if pulled is not None:
                    surrogate = surrogate + self.precision.scaler.scale(pulled / len(parts))
                surrogate.backward()
        return StepResult(value.total.detach(), value, x.detach())

    def _embed(self, batch: Any, step: int, number: int) -> tuple[Tensor, Tensor | None]:
        """Return a micro-batch's embeddings, and the pull's term where there is one."""
        torch.manual_seed(self.draw_seed(step, number))
        pixels = self.model.pixels(batch.images, self._preprocessing)
        with self.precision.autocast():
            x = self.model.wrapped(pixels)
            needed = self.pull is not None and torch.is_grad_enabled()
            return x, self.pull(pixels, x) if needed else None

    def draw_seed(self, step: int, number: int) -> int:
        key = f"{self.seed}/{step}/{number}/{self.model.ranks.rank}".encode()
        return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "little")

    def _sync_only(self, last: bool) -> contextlib.AbstractContextManager[None]:
        wrapped = self.model.wrapped
        if last or not isinstance(wrapped, DistributedDataParallel):
            return contextlib.nullcontext()
        return wrapped.no_sync()
