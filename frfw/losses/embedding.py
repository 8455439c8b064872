"""Losses on embeddings: triplet and contrastive; and the registry that also holds centre loss.

Each is called as `loss(embeddings (B, D), labels (B,), group=None)` and sees the embeddings of
all ranks; the mean over ranks of the returned scalar and of its gradients is the global one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frfw.losses.distances import DISTANCES
from frfw.losses.distributed import Group, gather, gather_with_gradient
from frfw.losses.formula import build, choice
from frfw.losses.triplets import GIVEN, MINING, mine, rows_in_threes
from frfw.losses.widen import NARROW, widen, without_autocast

_LOSSES: dict[str, type[nn.Module]] = {}


def register_embedding_loss(name: str) -> Any:
    """Class decorator: make a module selectable as `loss=<name>` and `extra_loss=<name>`."""

    def decorate(cls: type[nn.Module]) -> type[nn.Module]:
        _LOSSES[name] = cls
        return cls

    return decorate


def embedding_loss_names() -> list[str]:
    """Return the names that `create_embedding_loss` knows, sorted."""
    return sorted(_LOSSES)


def create_embedding_loss(name: str, dim: int, classes: int, **params: Any) -> nn.Module:
    """Return the embedding loss called `name` for `dim`-dimensional embeddings of `classes`.

    Raises:
        ValueError: unknown name or parameter (with the nearest right one), or a bad value.
    """
    for key in ("dim", "classes"):
        if key in params:
            raise ValueError(f"{key} comes from the network and the data, not from the loss's keys")
    return build(_LOSSES, "embedding loss", name, {"dim": dim, "classes": classes, **params})


@register_embedding_loss("triplet")
class TripletLoss(nn.Module):
    """mean over triplets of [d(a, p) - d(a, n) + margin]_+, or of softplus(d(a, p) - d(a, n)).

    Source: Schroff et al., "FaceNet", CVPR 2015, section 3.1; batch-hard and soft margin:
    Hermans et al., "In Defense of the Triplet Loss", 2017, section 2.

    Args:
        margin: a number, or "soft" for the soft margin.
        mining: "all", "batch_hard", "hard", "semihard" or "easy" (see `frfw.losses.triplets`), or
            "given": the global batch comes in threes (`frfw.losses.in_threes`).
        distance: "euclidean", "squared", "manhattan" or "cosine".
        normalize: compare L2-normalised embeddings.
        nonzero: divide by the number of triplets with a loss above 0 instead of all mined ones.
        mining_margin: divides semi-hard from easy; None: `margin`, or 0.2 with the soft margin.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        margin: float | str = 0.2,
        mining: str = "batch_hard",
        distance: str = "euclidean",
        normalize: bool = True,
        nonzero: bool = False,
        mining_margin: float | None = None,
    ) -> None:
        super().__init__()
        if isinstance(margin, str) and margin != "soft":
            raise ValueError(f"margin must be a number or 'soft', got '{margin}'")
        self.margin = margin
        self.mining = choice("mining", mining, (*MINING, GIVEN))
        self.distance = choice("distance", distance, DISTANCES)
        self.normalize, self.nonzero = bool(normalize), bool(nonzero)
        if mining_margin is None:
            mining_margin = 0.2 if isinstance(margin, str) else margin
        self.mining_margin = float(mining_margin)

    @without_autocast
    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        group: Group = None,
        triplets: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of (B, D) embeddings with (B,) labels.

        `triplets` (3, T), indices into the global batch, replaces the online mining. No triplet
        gives a loss of 0 with a gradient of 0.
        """
        embeddings, labels = _gathered(embeddings, labels, group)
        if self.normalize:
            embeddings = F.normalize(embeddings, dim=1)
        distances = DISTANCES[self.distance](embeddings, embeddings)
        if triplets is None and self.mining == GIVEN:
            triplets = rows_in_threes(len(labels), labels.device)
        elif triplets is None:
            triplets = mine(distances.detach(), labels, self.mining, self.mining_margin)
        anchor, positive, negative = triplets
        violation = distances[anchor, positive] - distances[anchor, negative]
        if self.margin == "soft":
            values = F.softplus(violation)
        else:
            values = F.relu(violation + self.margin)
        count = (values > 0).sum() if self.nonzero else values.numel()
        count = torch.as_tensor(count, device=values.device).clamp_min(1)
        return values.sum() / count + 0 * embeddings.sum()


@register_embedding_loss("contrastive")
class ContrastiveLoss(nn.Module):
    """mean over unordered pairs: d²/2 for one class, [margin - d]²_+ / 2 for two.

    Source: Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant
    Mapping", CVPR 2006, eq. 4.

    Args:
        margin: distance up to which different classes are pushed apart.
        distance: "euclidean", "manhattan", "cosine" or "squared".
        normalize: compare L2-normalised embeddings.
    """

    def __init__(
        self,
        dim: int,
        classes: int,
        margin: float = 1.0,
        distance: str = "euclidean",
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if not margin > 0:
            raise ValueError(f"margin must be positive, got {margin}")
        self.margin = float(margin)
        self.distance = choice("distance", distance, DISTANCES)
        self.normalize = bool(normalize)

    @without_autocast
    def forward(self, embeddings: Tensor, labels: Tensor, group: Group = None) -> Tensor:
        """Return the loss of (B, D) embeddings with (B,) labels; 0 for a batch of one."""
        embeddings, labels = _gathered(embeddings, labels, group)
        if self.normalize:
            embeddings = F.normalize(embeddings, dim=1)
        first, second = torch.triu_indices(len(labels), len(labels), 1, device=labels.device)
        distances = DISTANCES[self.distance](embeddings, embeddings)[first, second]
        same = labels[first] == labels[second]
        apart = F.relu(self.margin - distances)
        values = torch.where(same, distances, apart).square() / 2
        return values.sum() / max(1, len(values)) + 0 * embeddings.sum()


def _gathered(embeddings: Tensor, labels: Tensor, group: Group) -> tuple[Tensor, Tensor]:
    """Return embeddings (with gradient on our rows) and labels of all ranks, float32 at least."""
    if embeddings.dtype in NARROW:
        embeddings = widen(embeddings, torch.float32)
    return gather_with_gradient(embeddings, group), gather(labels, group)[0]
