"""Freezing by stage, layer-wise learning rates and batch-norm policy of a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from frfw.errors import FrfwError, nearest

BATCH_NORM = ("train", "freeze")


def stage_index(backbone: nn.Module, name: str) -> int:
    """Return the number of the stage, counted from the input, that a module or parameter is in.

    What no stage claims (a token model's position embedding) belongs to the first.
    """
    best, found = -1, 0
    for number, modules in enumerate(backbone.stages.values()):
        for prefix in modules:
            inside = name == prefix or name.startswith(prefix + ".")
            if inside and len(prefix) > best:
                best, found = len(prefix), number
    return found


def frozen_stages(backbone: nn.Module, freeze: str | Sequence[str] | None) -> set[int]:
    """Return the numbers of the stages that `freeze` names.

    Args:
        freeze: a list of stages; or one stage, for all from the input up to and with it; or "all";
            or None.

    Raises:
        FrfwError: an unknown stage.
    """
    names = list(backbone.stages)
    if not freeze:
        return set()
    if freeze == "all":
        return set(range(len(names)))
    for name in [freeze] if isinstance(freeze, str) else freeze:
        if name not in names:
            raise FrfwError(
                f"finetune.freeze: this backbone has no stage '{name}'.{nearest(name, names)} "
                f"It has: {', '.join(names)}; or all"
            )
    if isinstance(freeze, str):
        return set(range(names.index(freeze) + 1))
    return {names.index(name) for name in freeze}


def freeze_parameters(backbone: nn.Module, freeze: str | Sequence[str] | None) -> int:
    """Take the frozen stages' parameters out of training; return how many numbers that are.

    Call it before DistributedDataParallel wraps the backbone.
    """
    frozen = frozen_stages(backbone, freeze)
    count = 0
    for name, parameter in backbone.named_parameters():
        if stage_index(backbone, name) in frozen:
            parameter.requires_grad = False
            count += parameter.numel()
    return count


def held_norms(
    backbone: nn.Module, freeze: str | Sequence[str] | None, batch_norm: str
) -> list[nn.Module]:
    """Return the batch norms whose running statistics must not move.

    Those of frozen stages, or all of them with `batch_norm="freeze"`: they use the statistics that
    they have, which small or unusual fine-tuning batches would spoil. Their scales and shifts
    still train unless frozen.

    Raises:
        FrfwError: unknown policy.
    """
    if batch_norm not in BATCH_NORM:
        raise FrfwError(f"finetune.batch_norm={batch_norm}: choose one of {', '.join(BATCH_NORM)}")
    frozen = frozen_stages(backbone, freeze)
    return [
        module
        for name, module in backbone.named_modules()
        if getattr(module, "running_mean", None) is not None
        and (batch_norm == "freeze" or stage_index(backbone, name) in frozen)
    ]


def layer_groups(
    backbone: nn.Module, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Parameter groups whose rates fall from the embedding down to the input.

    Stage n of N, counted from the input, gets `lr_factor = layer_decay ** (N - 1 - n)` (Clark et
    al. 2020, ELECTRA). Vectors (norms, biases, PReLU) have no weight decay. Frozen parameters are
    left out.

    Raises:
        FrfwError: `layer_decay` outside (0, 1].
    """
    if not 0 < layer_decay <= 1:
        raise FrfwError(f"finetune.layer_decay={layer_decay} must be above 0 and at most 1")
    last = len(backbone.stages) - 1
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in backbone.named_parameters():
        if parameter.requires_grad:
            key = (stage_index(backbone, name), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": weight_decay if decayed else 0.0,
            "lr_factor": layer_decay ** (last - stage),
        }
        for (stage, decayed), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
