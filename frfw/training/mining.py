"""Offline triplet mining: every few epochs, triplets from the embeddings of the training set."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from frfw.data import create_order, make_loader
from frfw.data.randomness import sample_keys
from frfw.data.sampler import ShuffledOrder
from frfw.data.selection import Selection
from frfw.errors import FrfwError, nearest
from frfw.losses import in_threes, mine_offline, read_triplets, write_triplets
from frfw.losses.triplets import GIVEN, MINING
from frfw.training import batchnorm
from frfw.training.batches import Phase, loader_options
from frfw.training.distributed import Ranks, from_all, from_main

if TYPE_CHECKING:
    from frfw.training.build import Parts
    from frfw.training.trainer import Trainer


_PIECE = 1 << 16  # embeddings that a rank tells the others at a time


class TripletOrder(ShuffledOrder):
    """(3, T) triplets as a stream of samples in threes, shuffled by (seed, epoch)."""

    repeats = True

    def __init__(self, triplets: Tensor, seed: int) -> None:
        super().__init__(triplets.numel(), seed)
        self._triplets = triplets

    def order(self, epoch: int) -> np.ndarray:
        return in_threes(self._triplets, self.seed, epoch).numpy()


class OfflineMining:
    """Decides, period by period, which triplets are trained on.

    Period p is the steps p L .. (p + 1) L - 1. Its triplets are mined from the weights at its
    first step and kept in `triplets/period_p.pt` of the run folder, so that a run that goes on in
    the middle of it trains on the same ones.

    Raises:
        FrfwError: `mining` and the loss do not fit together, or the batch is not in threes.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._settings = trainer, trainer.config["mining"]
        self._loss = triplet_loss(trainer.config)
        kind = self._settings["kind"]
        if kind not in MINING:
            raise FrfwError(f"mining.kind={kind}: {', '.join(MINING)}.{nearest(kind, MINING)}")
        if not self._settings["every_epochs"] > 0:
            raise FrfwError("mining.every_epochs must be above 0")
        if trainer.plan.micro_batch % 3:
            raise FrfwError(
                f"mining=offline needs batches in threes, and a process takes "
                f"{trainer.plan.micro_batch} samples at once: make trainer.global_batch_size "
                "(or micro_batch_size) a multiple of 3 on every process"
            )
        every = self._settings["every_epochs"] * trainer.plan.steps_per_epoch
        self.length = max(1, round(every))

    def begin(self) -> None:
        """Set the samples of the steps from here to the end of the period; every rank calls it."""
        trainer = self._trainer
        period = trainer.step // self.length
        start = period * self.length
        path = trainer.folder.path / "triplets" / f"period_{period}.pt"
        seed = int(sample_keys(trainer.config["seed"], np.array([period]), np.array([0]))[0] >> 33)
        triplets = from_main(trainer.ranks, self._kept(path) if trainer.step > start else None)
        if triplets is None:
            triplets = self._mine(path, seed)
        stop = min(start + self.length, trainer.plan.steps)
        trainer.parts.phase = Phase(TripletOrder(triplets, seed), seed, start, stop)

    def _kept(self, path: Path) -> Tensor | None:
        """Read the period's file, on rank 0; None where it is not there."""
        if not self._trainer.ranks.is_main:
            return None
        if not path.exists():
            self._trainer.recorder.message(f"warning: {path} is gone: mining triplets anew")
            return None
        try:
            return read_triplets(
                path, torch.as_tensor(np.array(self._trainer.parts.dataset.labels))
            )
        except ValueError as error:
            raise FrfwError(str(error)) from error

    def _mine(self, path: Path, seed: int) -> Tensor:
        trainer, settings, loss = self._trainer, self._settings, self._loss
        with trainer.recorder.paused():
            embeddings = embed_training_set(trainer.parts)
            found = None
            if trainer.ranks.is_main:
                labels = torch.as_tensor(np.array(trainer.parts.dataset.labels))
                device = trainer.ranks.device
                if loss["normalize"]:
                    embeddings = F.normalize(embeddings, dim=1)
                found = mine_offline(
                    embeddings.to(device),
                    labels.to(device),
                    settings["kind"],
                    margin=mining_margin(loss),
                    distance=loss["distance"],
                    positives_per_anchor=settings["positives_per_anchor"],
                    seed=seed,
                ).cpu()
                path.parent.mkdir(exist_ok=True)
                write_triplets(path, found, labels)
                trainer.recorder.message(
                    f"step {trainer.step}: mined {found.shape[1]} {settings['kind']} triplets"
                )
            found = from_main(trainer.ranks, found)
        if not found.shape[1]:
            raise FrfwError(
                f"no {settings['kind']} triplet in the training set at step {trainer.step}: try "
                "mining.kind=batch_hard, or a larger loss.margin"
            )
        return found


def create_mining(trainer: Trainer) -> OfflineMining | None:
    """Return what `mining` asks for; None: batches as the sampler gives them.

    Raises:
        FrfwError: the loss takes triplets as given and nothing gives them, or the other way round.
    """
    settings = trainer.config.get("mining") or {"name": "none"}
    if settings["name"] not in ("none", "offline"):
        raise FrfwError(f"mining={settings['name']}: choose none or offline")
    given = (triplet_loss(trainer.config) or {}).get("mining") == GIVEN
    if settings["name"] == "none":
        if given:
            raise FrfwError("the triplet loss has mining=given: set mining=offline to mine them")
        return None
    if not given:
        raise FrfwError(
            "mining=offline mines triplets for a triplet loss that takes them: set loss=triplet "
            "loss.mining=given, or extra_loss=triplet extra_loss.mining=given"
        )
    return OfflineMining(trainer)


def triplet_loss(config: dict[str, Any]) -> dict[str, Any] | None:
    """Return the config of the triplet loss that the run trains with, or None."""
    for group in ("loss", "extra_loss"):
        if config[group]["name"] == "triplet":
            return config[group]
    return None


def mining_margin(loss: dict[str, Any]) -> float:
    """What divides semi-hard from easy: as the loss itself would have it."""
    if loss["mining_margin"] is not None:
        return float(loss["mining_margin"])
    return 0.2 if isinstance(loss["margin"], str) else float(loss["margin"])


def embed_training_set(parts: Parts) -> Tensor:
    """Return the (N, D) float32 embeddings of all images on the CPU, on every rank.

    In evaluation mode, without augmentation; each rank embeds its share.
    """
    ranks, network = parts.ranks, parts.backbone
    batchnorm.average_statistics(network, ranks)
    share = np.array_split(np.arange(len(parts.dataset)), ranks.world)[ranks.rank]
    training = network.training
    network.eval()
    try:
        mine = _embed(parts, share)
    finally:
        network.train(training)
    return _gather(ranks, mine, -(-len(parts.dataset) // ranks.world))


def _gather(ranks: Ranks, mine: Tensor, most: int) -> Tensor:
    """Every rank's rows in rank order, in pieces: NCCL takes objects through the GPU's memory."""
    pieces = [from_all(ranks, mine[at : at + _PIECE].numpy()) for at in range(0, most, _PIECE)]
    return torch.cat([torch.from_numpy(piece[rank]) for rank in range(ranks.world)
                      for piece in pieces])  # fmt: skip


@torch.inference_mode()
def _embed(parts: Parts, share: np.ndarray) -> Tensor:
    if not len(share):
        return torch.zeros(0, parts.backbone.embedding_dim)
    dataset, size = Selection(parts.dataset, share), parts.plan.micro_batch
    loader = make_loader(
        dataset,
        create_order("sequential", dataset.labels),
        global_batch=size,
        micro_batch=size,
        steps=-(-len(share) // size),
        **loader_options(parts),
    )
    rows = []
    with contextlib.closing(loader):
        for batch in loader:
            with parts.precision.autocast():
                x = parts.backbone(parts.model.pixels(batch.images, parts.preprocessing))
            rows.append(x.float().cpu())
    return torch.cat(rows)[: len(share)]
