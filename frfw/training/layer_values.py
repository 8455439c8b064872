"""The largest value of every layer, to see where a step stops being finite."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from frfw.training.batches import Batches

if TYPE_CHECKING:
    from frfw.training.trainer import Trainer

Values = dict[str, float]


@torch.no_grad()
def largest_weights(module: nn.Module) -> Values:
    """Return the largest absolute value of every parameter and buffer; nan or inf where it is."""
    return {name: largest(value) for name, value in module.state_dict().items()}


def largest(value: Tensor) -> float:
    """Return the largest absolute value; nan where any is nan, 0 of nothing."""
    return float(value.detach().abs().max()) if value.numel() else 0.0


def _worse(a: float, b: float) -> float:
    return a if math.isnan(a) else b if math.isnan(b) else max(a, b)


@contextmanager
def watched(module: nn.Module) -> Iterator[Values]:
    """Record the largest absolute output of every innermost layer while inside, in call order."""
    found: Values = {}
    handles = []

    def record(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                found[name] = _worse(found.get(name, 0.0), largest(output))

        return hook

    for name, layer in module.named_modules():
        if not any(layer.children()):
            handles.append(layer.register_forward_hook(record(name)))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def look_again(trainer: Trainer, step: int) -> dict[str, Any]:
    """Run step `step` (counted from 1) once more, on all ranks, and change nothing by it.

    The batch is read again and the forward runs with hooks, so a healthy step costs nothing. On a
    GPU the fault is seen some steps late: the weights are then those of now.

    Returns:
        `largest_activations` and `largest_gradients` by layer (this rank's share of the batch),
        and `first_not_finite`: the first layer whose output is not finite, or None.
    """
    parts, guard = trainer.parts, trainer.guard
    batches = Batches(parts, step - 1, again=True)
    micro_batches = next(iter(batches))
    guard.begin()
    try:
        activations = _activations(trainer, micro_batches, step - 1)
        gradients = _gradients(trainer, micro_batches, step - 1)
    finally:
        guard.put_back(torch.ones((), dtype=torch.bool, device=trainer.ranks.device))
        batches.close()
    return {
        "first_not_finite": next(not_finite(activations), None),
        "largest_activations": activations,
        "largest_gradients": gradients,
    }


def _activations(trainer: Trainer, micro_batches: list[Any], step: int) -> Values:
    """Forward on the bare backbone: hooks of a compiled one would not be called."""
    parts = trainer.parts
    with torch.no_grad(), watched(parts.backbone) as found:
        for number, batch in enumerate(micro_batches):
            torch.manual_seed(parts.forward_backward.draw_seed(step, number))
            pixels = parts.model.pixels(batch.images, parts.preprocessing)
            with parts.precision.autocast():
                parts.backbone(pixels)
    return found


def _gradients(trainer: Trainer, micro_batches: list[Any], step: int) -> Values:
    parts = trainer.parts
    if trainer.config["classifier"]["fused_update"]:
        return {}  # its backward would move the head
    parts.forward_backward(micro_batches, step)
    scale = parts.precision.scaler.get_scale() if parts.precision.scaler.is_enabled() else 1.0
    found = {}
    for name, parameter in parts.model.named_parameters():
        gradient = parameter.grad
        if gradient is not None:
            values = gradient._values() if gradient.is_sparse else gradient
            found[name] = largest(values) / scale
            parameter.grad = None
    return found


def not_finite(values: Values) -> Iterator[str]:
    """Name the layers whose value is nan or infinite, in order."""
    return (name for name, value in values.items() if not math.isfinite(value))


def plain(content: Any) -> Any:
    """Make nan and inf words, so that any reader of JSON can read them."""
    if isinstance(content, dict):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, float) and not math.isfinite(content):
        return str(content)
    if isinstance(content, Iterable) and not isinstance(content, str):
        return [plain(value) for value in content]
    return content
