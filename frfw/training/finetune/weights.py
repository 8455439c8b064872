"""`init_from`: read weights of a run, a checkpoint or public code, and put them into a backbone."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frfw.errors import FrfwError
from frfw.training import checkpoint
from frfw.training.finetune.public import Layout, State, recognise, unwrap
from frfw.training.finetune.tolerant import load_tensors

CHANNELS = ("auto", "rgb", "bgr")


@dataclass
class InitialWeights:
    """Weights to start from.

    Attributes:
        path: the file they were read from.
        state: the backbone's state dict.
        layout: whose keys these are; None for a timm model or an unknown network.
        channels: "rgb" or "bgr", the input order that the weights expect.
        certain: False where `channels` is the likelier of two.
        checkpoint: the whole content of a checkpoint of ours, or None for public weights.
    """

    path: Path
    state: State
    layout: Layout | None
    channels: str
    certain: bool
    checkpoint: dict[str, Any] | None = None


def read_weights(path: str | Path) -> InitialWeights:
    """Read weights from a run folder, a checkpoint file, or a public `.pt`, `.pth`, `.ckpt` or
    `.safetensors` file. Nothing in the file is executed.

    Raises:
        FrfwError: nothing there, unreadable, or no tensors in it.
    """
    file = checkpoint.find(path)
    content = _read(file)
    if isinstance(content, dict) and "format" in content and "preprocessing" in content:
        state = content.get("ema") or content["backbone"]
        channels = content["preprocessing"].get("channels", "rgb")
        return InitialWeights(file, state, recognise(state), channels, True, content)
    state, removed = unwrap(content)
    if not state:
        raise FrfwError(f"{file} holds no state dict of a network (no tensors by name in it)")
    layout = recognise(state)
    channels = layout.channels if layout else "rgb"
    # AdaFace's own training files are Lightning checkpoints: the network under "model.".
    certain = layout is None or layout.certain or "model." in removed
    return InitialWeights(file, state, layout, channels, certain)


def _read(file: Path) -> Any:
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise FrfwError(f"{file} cannot be read as safetensors: {error}") from error
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        pass  # objects of a training framework beside the tensors: read without making them
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise _unreadable(file, error) from error
    try:
        return load_tensors(file)
    except Exception as error:  # whatever a stand-in could not stand in for
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> FrfwError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return FrfwError(f"{file} cannot be read as weights ({reason}): is it truncated?")


def load_backbone(
    backbone: nn.Module, weights: InitialWeights, channels: str = "auto", strict: bool = True
) -> list[str]:
    """Put `weights` into `backbone`, turned to RGB input.

    Args:
        channels: "rgb" or "bgr" says what the weights were trained with; "auto" believes the file.
        strict: every key must fit. False takes the keys that fit by name and shape.

    Returns:
        lines to tell the user.

    Raises:
        FrfwError: weights of another architecture (names the first keys and the backbone that
            they fit), or nothing that fits.
    """
    if channels not in CHANNELS:
        raise FrfwError(f"finetune.channels={channels}: choose one of {', '.join(CHANNELS)}")
    state = _as_ours(backbone, weights)
    mine = backbone.state_dict()
    wrong = _mismatches(mine, state)
    if wrong and strict:
        raise FrfwError(_explain(backbone, weights, wrong))
    fitting = {k: v for k, v in state.items() if k in mine and v.shape == mine[k].shape}
    if not any(v.ndim > 1 for v in fitting.values()):
        raise FrfwError(_explain(backbone, weights, wrong))
    order = weights.channels if channels == "auto" else channels
    if order == "bgr":
        fitting = to_rgb(fitting, backbone.input_convolution)
    backbone.load_state_dict(fitting, strict=False)
    return _lines(weights, channels, order, len(mine), len(fitting))


def to_rgb(state: State, convolution: str | None) -> State:
    """Return `state` with the input channels of the first convolution in reverse order.

    A network that expected blue, green, red gives the same outputs for red, green, blue then: the
    pre-processing treats the three channels alike.
    """
    if convolution is None or convolution not in state:
        raise FrfwError(
            "cannot turn BGR weights to RGB: the network's first convolution is unknown; "
            "set finetune.channels=rgb to take the weights as they are"
        )
    return {**state, convolution: state[convolution].flip(1)}


def _as_ours(backbone: nn.Module, weights: InitialWeights) -> dict[str, Tensor]:
    """Return the state with our names, for a timm model's own weights prefixed `model.`."""
    inner = getattr(backbone, "model", None)
    if weights.layout is None and isinstance(inner, nn.Module) and weights.checkpoint is None:
        own = inner.state_dict()
        taken = {f"model.{k}": v for k, v in weights.state.items() if k in own}
        if len(taken) == len(own):  # a timm file has a classifier besides, no embedding layer
            rest = {k: v for k, v in backbone.state_dict().items() if not k.startswith("model.")}
            return {**taken, **rest}
    return weights.state


def _mismatches(mine: dict[str, Tensor], state: dict[str, Tensor]) -> list[str]:
    """Say up to three mismatching keys of each kind, in the network's order."""
    shapes = [
        f"{k} is {tuple(state[k].shape)} in the file, {tuple(mine[k].shape)} here"
        for k in mine
        if k in state and state[k].shape != mine[k].shape
    ]
    missing = [f"{k} is not in the file" for k in mine if k not in state]
    unknown = [f"{k} is only in the file" for k in state if k not in mine]
    return shapes[:3] + missing[:2] + unknown[:2]


def _explain(backbone: nn.Module, weights: InitialWeights, wrong: list[str]) -> str:
    text = f"{weights.path} does not fit this backbone: {'; '.join(wrong)}."
    layout = weights.layout
    if weights.checkpoint is not None:
        name = weights.checkpoint["config"].get("backbone", {}).get("name")
        return f"{text} It was trained with backbone={name}: choose that"
    if layout is not None and layout.backbone is not None:
        hint = layout.overrides()
        dim = _embedding_dim(weights.state)
        if dim is not None and dim != backbone.embedding_dim:
            hint += f" backbone.embedding_dim={dim}"
        return f"{text} It holds {layout.project} weights of {hint}: choose that"
    return f"{text} Known: weights of arcface_torch, CurricularFace, TFace, AdaFace and timm"


def _embedding_dim(state: State) -> int | None:
    means = [v for k, v in state.items() if k.endswith("running_mean")]
    return int(means[-1].shape[0]) if means else None


def _lines(weights: InitialWeights, asked: str, order: str, total: int, taken: int) -> list[str]:
    whose = "a run" if weights.checkpoint is not None else "public weights"
    if weights.layout is not None and weights.checkpoint is None:
        whose = f"{weights.layout.project} weights"
    lines = [f"initial weights: {weights.path} ({whose}, {taken} of {total} tensors)"]
    if order == "bgr":
        lines.append("their input order is BGR: the first convolution was turned to RGB")
    if asked == "auto" and not weights.certain:
        lines.append(
            "warning: AdaFace (BGR) and TFace (RGB) publish these same keys; taken for AdaFace's. "
            "Set finetune.channels=rgb for TFace"
        )
    return lines
