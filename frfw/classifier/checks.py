"""Input checks whose verdict every process learns, so that none waits for one that gave up."""

from __future__ import annotations

import torch
from torch import Tensor

from frfw.classifier.exchange import Exchange
from frfw.errors import FrfwError

_FINE, _TYPE, _SHAPE, _COLUMN, _DTYPE, _RANGE, _NOT_FINITE = range(7)
_HALF = (torch.float16, torch.bfloat16)
_TAKEN = (*_HALF, torch.float32, torch.float64)


def agree(
    embeddings: Tensor,
    labels: Tensor,
    weight: Tensor,
    classes: int,
    exchange: Exchange,
    finite: bool,
) -> list[int]:
    """Check a batch on every process and return the batch size of each, in rank order.

    A process with a bad batch does not leave the others in a collective: the verdicts are the
    first thing that is exchanged, and every process raises the same complaint.

    Args:
        embeddings: (B, D) floating point.
        labels: (B,) int64 in [0, classes).
        weight: (centres, D) of the head, float32 or float64.
        finite: refuse embeddings that are NaN or infinite (switched off where a gradient scaler
            deals with them).

    Raises:
        FrfwError: what is wrong, on which process, at which position.
    """
    if weight.dtype in _HALF:
        raise FrfwError(
            f"the classifier's weight is {weight.dtype}: keep it in float32 (head.float()); "
            "embeddings and `precision` may be half"
        )
    dim = weight.shape[1]
    verdict = _inspect(embeddings, labels, dim, classes, finite)
    size = len(labels) if verdict[0] == _FINE else 0
    heard = [[size, *verdict]]
    if exchange.world > 1:
        told = torch.tensor(heard[0], dtype=torch.int64, device=weight.device)
        heard = exchange.stack(told).tolist()
    for rank, (_, kind, position, value) in enumerate(heard):
        if kind != _FINE:
            where = f" (process {rank} of {exchange.world})" if exchange.world > 1 else ""
            raise FrfwError(_complaint(kind, position, value, dim, classes) + where)
    sizes = [row[0] for row in heard]
    if sum(sizes) == 0:
        raise FrfwError("the batch is empty: give the classifier at least one embedding")
    return sizes


def _inspect(
    embeddings: Tensor, labels: Tensor, dim: int, classes: int, finite: bool
) -> tuple[int, int, int]:
    """Return (kind, position, value) of the first thing that is wrong, or zeros."""
    for kind, value in enumerate((embeddings, labels)):
        if not isinstance(value, Tensor):
            return _TYPE, kind, 0
    if labels.ndim > 1 and embeddings.ndim and labels.numel() == len(embeddings):
        return _COLUMN, labels.ndim, 0
    if embeddings.ndim != 2 or embeddings.shape[1] != dim or labels.shape != embeddings.shape[:1]:
        width = embeddings.shape[1] if embeddings.ndim == 2 else -1
        return _SHAPE, labels.numel(), width
    if embeddings.dtype not in _TAKEN or embeddings.layout != torch.strided:
        return _DTYPE, 1, 0
    if labels.dtype != torch.int64 or labels.layout != torch.strided:
        return _DTYPE, 0, 0
    outside = (labels < 0) | (labels >= classes)
    # A row's sum is not finite if a number is not; it may also overflow.
    suspect = ~embeddings.detach().sum(1).isfinite() if finite else outside
    # One wait for the device, for both questions.
    if len(labels) == 0 or not bool((outside | suspect).any()):
        return _FINE, 0, 0
    if bool(outside.any()):
        first = int(outside.int().argmax())
        return _RANGE, first, int(labels[first])
    poisoned = ~embeddings.detach().isfinite().all(1)
    if not bool(poisoned.any()):
        return _FINE, 0, 0
    first = int(poisoned.int().argmax())
    return _NOT_FINITE, first, int(bool(embeddings[first].isnan().any()))


def _complaint(kind: int, position: int, value: int, dim: int, classes: int) -> str:
    if kind == _TYPE:
        return f"{('embeddings', 'labels')[position]} must be a torch.Tensor"
    if kind == _COLUMN:
        return f"labels must be (B,): got {position} dimensions, use labels.flatten()"
    if kind == _SHAPE:
        return (
            f"embeddings must be (B, {dim}) and labels (B,): got {position} labels for "
            f"embeddings of width {value if value >= 0 else 'unknown (not a matrix)'}"
        )
    if kind == _DTYPE:
        if position:
            return (
                "embeddings must be dense float16, bfloat16, float32 or float64: convert them, "
                "e.g. embeddings.float()"
            )
        return "labels must be dense int64: convert them, e.g. labels.long()"
    if kind == _RANGE:
        return (
            f"label {value} at position {position} of the batch is outside the {classes} classes "
            f"(0 to {classes - 1}): the classifier was made for another data set, or the list is "
            "not numbered without gaps"
        )
    return (
        f"the embedding at position {position} of the batch is {'NaN' if value else 'infinite'}: "
        "lower the learning rate, or look for a broken image or an overflow in half precision"
    )
