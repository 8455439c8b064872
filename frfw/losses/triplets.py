"""Which triplets to learn from: online within a batch, and offline over a whole training set.

A triplet is (anchor, positive, negative): anchor and positive of one class, negative of another.
With d(a, n) - d(a, p) as its gap, a triplet is hard where gap <= 0, semi-hard where
0 < gap <= margin, easy where gap > margin (Schroff et al., "FaceNet", CVPR 2015, section 3.2).
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from frfw.losses.distances import DISTANCES
from frfw.losses.formula import choice

MINING = ("all", "batch_hard", "hard", "semihard", "easy")
GIVEN = "given"  # no mining: rows 3i, 3i + 1, 3i + 2 of a batch are a triplet


def mine(distances: Tensor, labels: Tensor, kind: str, margin: float) -> Tensor:
    """Return (3, T) int64 rows anchor, positive, negative among the B samples of a batch.

    Args:
        distances: (B, B), any dtype.
        labels: (B,) int64.
        kind: "all"; "hard", "semihard", "easy" by the gap; "batch_hard": for each anchor its
            farthest positive and nearest negative (Hermans et al. 2017, section 2).
        margin: divides semi-hard from easy.
    """
    choice("mining", kind, MINING)
    with torch.no_grad():
        same = labels[:, None] == labels[None, :]
        positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        if kind == "batch_hard":
            return _hardest(distances, positive, ~same)
        anchor, other = positive.nonzero(as_tuple=True)
        row, negative = (~same)[anchor].nonzero(as_tuple=True)
        triplets = torch.stack([anchor[row], other[row], negative])
        if kind == "all":
            return triplets
        return triplets[:, _wanted(_gap(distances, triplets), kind, margin)]


def _hardest(distances: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    usable = (positive.any(1) & negative.any(1)).nonzero().squeeze(1)
    inf = torch.finfo(distances.dtype).max
    farthest = distances.masked_fill(~positive, -inf).argmax(1)
    nearest = distances.masked_fill(~negative, inf).argmin(1)
    return torch.stack([usable, farthest[usable], nearest[usable]])


def _gap(distances: Tensor, triplets: Tensor) -> Tensor:
    anchor, positive, negative = triplets
    return distances[anchor, negative] - distances[anchor, positive]


def _wanted(gap: Tensor, kind: str, margin: float) -> Tensor:
    if kind == "hard":
        return gap <= 0
    return gap > margin if kind == "easy" else (gap > 0) & (gap <= margin)


def mine_offline(
    embeddings: Tensor,
    labels: Tensor,
    kind: str = "semihard",
    margin: float = 0.2,
    distance: str = "euclidean",
    positives_per_anchor: int = 1,
    seed: int = 0,
    block: int = 256,
) -> Tensor:
    """Return (3, T) triplets over a whole set: for each anchor a few positives, each with one
    negative of the wanted kind; positives without such a negative are left out.

    Memory grows with `block` x N, never with N². The result is a function of the arguments.

    Args:
        embeddings: (N, D) float, normalised where the loss normalises.
        labels: (N,) int64.
        kind: "semihard", "hard", "easy": one such negative at random; "batch_hard": the nearest
            negative and, with one positive per anchor, the farthest positive; "all": any negative.
        margin: divides semi-hard from easy.
        distance: euclidean, squared, manhattan or cosine.
        positives_per_anchor: at most this many for each anchor.
        seed: of the random choices.
        block: anchors compared with the set at a time.
    """
    choice("mining", kind, MINING)
    between = DISTANCES[choice("distance", distance, DISTANCES)]
    generator = torch.Generator().manual_seed(seed)
    parts = []
    with torch.no_grad():
        for start in range(0, len(labels), block):
            anchors = torch.arange(start, min(start + block, len(labels)), device=labels.device)
            distances = between(embeddings[anchors], embeddings)
            args = (anchors, distances, labels, kind, margin, positives_per_anchor)
            parts.append(_mine_block(*args, generator))
    return torch.cat(parts, dim=1) if parts else labels.new_empty((3, 0))


def _mine_block(
    anchors: Tensor,
    distances: Tensor,
    labels: Tensor,
    kind: str,
    margin: float,
    per_anchor: int,
    generator: torch.Generator,
) -> Tensor:
    row = torch.arange(len(anchors), device=labels.device)
    same = labels[anchors][:, None] == labels[None, :]
    positive = same.clone()
    positive[row, anchors] = False
    # Random scores choose among equals; batch_hard ranks by distance instead.
    score = torch.rand(distances.shape, generator=generator).to(distances)
    order = distances if kind == "batch_hard" else score
    count = min(per_anchor, distances.shape[1])
    ranked, picks = order.masked_fill(~positive, -1).topk(count, dim=1)
    chosen = []
    for k in range(count):
        to_positive = distances[row, picks[:, k]]
        wanted = ~same
        if kind in ("hard", "semihard", "easy"):
            wanted = wanted & _wanted(distances - to_positive[:, None], kind, margin)
        order = -distances if kind == "batch_hard" else score
        best = order.masked_fill(~wanted, -torch.inf).argmax(1)
        usable = (ranked[:, k] >= 0) & wanted.any(1)
        chosen.append(torch.stack([anchors, picks[:, k], best])[:, usable])
    return torch.cat(chosen, dim=1)


def in_threes(triplets: Tensor, seed: int = 0, epoch: int = 0) -> Tensor:
    """Return (3T,) indices anchor, positive, negative, anchor ..., the triplets shuffled.

    As the order of a loader it makes batches for `TripletLoss(mining="given")`, where the batch
    size is a multiple of 3. The shuffle is a function of (seed, epoch).
    """
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    order = torch.randperm(triplets.shape[1], generator=generator)
    return triplets.cpu()[:, order].T.reshape(-1)


def rows_in_threes(batch: int, device: torch.device) -> Tensor:
    """Return the (3, batch / 3) triplets of a batch that `in_threes` ordered.

    Raises:
        ValueError: the batch is no multiple of 3.
    """
    if batch % 3:
        raise ValueError(
            f"mining=given needs a batch that is a multiple of 3 (anchor, positive, negative), "
            f"got {batch}"
        )
    return torch.arange(batch, device=device).view(-1, 3).T


def write_triplets(path: str | Path, triplets: Tensor, labels: Tensor) -> None:
    """Write (3, T) triplets and the (N,) labels they were mined from, as a torch file."""
    content = {"triplets": triplets.cpu().long(), "labels": labels.cpu().long()}
    torch.save(content, path)


def read_triplets(path: str | Path, labels: Tensor | None = None) -> Tensor:
    """Read (3, T) triplets; with `labels` (N,), refuse a file mined from another set.

    Raises:
        ValueError: not a triplet file, or its labels are not these.
    """
    try:
        content = torch.load(path, weights_only=True)
        triplets, mined = content["triplets"], content["labels"]
    except (OSError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is not a triplet file: {reason}") from error
    if labels is not None and not torch.equal(mined, labels.cpu().long()):
        raise ValueError(
            f"{path}: mined from {len(mined)} samples with other labels than these "
            f"{len(labels)}; mine the triplets again on this training set"
        )
    return triplets
