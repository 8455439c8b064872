"""What is in a checkpoint, as plain facts and as text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frfw.training.finetune import read_weights
from frfw.training.finetune.weights import InitialWeights

Facts = dict[str, Any]


def describe(path: str | Path) -> Facts:
    """Return what a run's checkpoint or a file of public weights holds, in plain types.

    Raises:
        FrfwError: nothing there, unreadable, or no weights in it.
    """
    weights = read_weights(path)
    facts: Facts = {"file": str(weights.path), "bytes": weights.path.stat().st_size}
    content = weights.checkpoint
    if content is None:
        return {**facts, **_public(weights)}
    config, counters = content["config"], content["counters"]
    plan = config.get("trainer", {})
    facts |= {
        "kind": f"frfw checkpoint, format {content['format']}",
        "step": counters["step"],
        "samples": counters["samples"],
        "skipped steps": counters["skipped"],
        "best": _best(content["best"]),
        "backbone": f"{config['backbone']['name']}, {_size(content['backbone'])}",
        "averaged weights": content["ema"] is not None,
        "loss": _loss(config["loss"]),
        "head": _head(content),
        "loss state": {k: v.item() for k, v in content["head"].items() if _is_number(v)},
        "optimizer": {k: _optimizer(v) for k, v in content["optimizer"].items()},
        "precision": plan.get("precision"),
        "global batch": plan.get("global_batch_size"),
        "data": content["data"],
        "preprocessing": content["preprocessing"],
    }
    facts["not finite"] = not_finite({**content["backbone"], **content["head"]})
    return facts


def _public(weights: InitialWeights) -> Facts:
    layout = weights.layout
    whose = "unknown network"
    if layout is not None:
        whose = f"{layout.project} weights"
    facts: Facts = {"kind": whose, "backbone": _size(weights.state)}
    if layout is not None and layout.backbone:
        facts["load with"] = f"init_from={weights.path} {layout.overrides()}"
        facts["trained with"] = weights.channels + ("" if weights.certain else ", most likely")
    facts["not finite"] = not_finite(weights.state)
    return facts


def _size(state: dict[str, Tensor]) -> str:
    learnt = sum(
        v.numel() for k, v in state.items() if "running_" not in k and v.is_floating_point()
    )
    return f"{learnt / 1e6:.2f} M parameters in {len(state)} tensors"


def _best(best: dict[str, Any]) -> str | None:
    if best["value"] is None:
        return None
    return f"{best['metric']} {best['value']:.4f} at step {best['step']}"


def _loss(loss: dict[str, Any]) -> str:
    return " ".join([loss["name"], *(f"{k}={v}" for k, v in loss.items() if k != "name")])


def _head(content: dict[str, Any]) -> str | None:
    if content["head_shards"]:
        return f"in shards beside the file, {content['head_shards']}"
    weight = content["head"].get("weight")
    return None if weight is None else f"{weight.shape[0]} x {weight.shape[1]}"


def _is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and value.numel() == 1


def _optimizer(state: dict[str, Any]) -> str:
    """Sum up an optimizer's state dict, or the head's, which is kept by parameter name."""
    if "param_groups" not in state:
        kept = {k for entry in state.values() for k in [*entry["values"], *entry["wide"]]}
        return ", ".join(sorted(kept)) or "no state"
    groups = state["param_groups"]
    rates = sorted({float(g["lr"]) for g in groups})
    held = next(iter(state["state"].values()), {})
    kept = {k for k, v in held.items() if isinstance(v, Tensor) and v.ndim}
    lr = f"{rates[-1]:.3g}" if len(rates) == 1 else f"{rates[0]:.3g} to {rates[-1]:.3g}"
    return f"{len(groups)} groups, lr {lr}, {', '.join(sorted(kept)) or 'no state'}"


def not_finite(state: dict[str, Tensor]) -> list[str]:
    """Return the names of tensors that hold NaN or infinity."""
    return [k for k, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]


def tensor_lines(path: str | Path) -> list[str]:
    """Return one line a tensor of the backbone: name, type, shape, mean, deviation, largest."""
    lines = []
    for name, value in read_weights(path).state.items():
        numbers = value.double() if value.numel() else value.new_zeros(1).double()
        kind = str(value.dtype).removeprefix("torch.")
        mean, std = float(numbers.mean()), float(numbers.std(correction=0))
        lines.append(
            f"{name:<56} {kind:<9} {tuple(value.shape)!s:<20} "
            f"mean {mean:+.3e}  std {std:.3e}  max {float(numbers.abs().max()):.3e}"
        )
    return lines


def text(facts: Facts) -> str:
    """Lay facts out in two columns."""
    lines = []
    for key, value in facts.items():
        if key == "bytes":
            value = f"{value / 2**20:.1f} MiB"
        elif key == "not finite":
            value = f"{len(value)} tensors: {', '.join(value[:3])}" if value else "none"
        elif isinstance(value, dict):
            value = "; ".join(f"{k}: {_short(v)}" for k, v in value.items()) or "none"
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        lines.append(f"{key:<18} {'none' if value is None else value}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    return str(value)
