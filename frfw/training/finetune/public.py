"""Recognise whose weights a state dict holds: arcface_torch, CurricularFace, TFace, AdaFace."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from frfw.backbones import ir, iresnet, mbf

State = dict[str, Tensor]

# Where public code puts the backbone's state dict inside a file, and what it puts before the keys.
_HOLDERS = ("state_dict_backbone", "state_dict", "backbone", "model", "net", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.", "encoder.")


@dataclass(frozen=True)
class Layout:
    """Whose network a state dict is.

    Attributes:
        project: who publishes weights with these keys.
        backbone: the name of our backbone that has them, or None for a depth that is not ours.
        options: options that the backbone needs besides, such as `inner_norm=False`.
        channels: "rgb" or "bgr": the order of the input channels it was trained with.
        certain: False where the same keys are published for either channel order.
    """

    project: str
    backbone: str | None
    channels: str = "rgb"
    certain: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def overrides(self) -> str:
        """Say the command-line overrides that choose this network."""
        words = [f"backbone={self.backbone}"]
        words += [f"backbone.{k}={str(v).lower()}" for k, v in self.options.items()]
        return " ".join(words)


def unwrap(content: Any) -> tuple[State, tuple[str, ...]]:
    """Dig the backbone's state dict out of whatever a file holds.

    Returns the state dict with bare keys, and the names of holders and prefixes taken away. Other
    modules of the file (a head beside the backbone) are left behind.
    """
    removed: list[str] = []
    while isinstance(content, dict):
        if recognise(content) is not None:
            return _tensors(content), tuple(removed)
        holder = next((h for h in _HOLDERS if isinstance(content.get(h), dict)), None)
        prefix = next((p for p in _PREFIXES if any(k.startswith(p) for k in _names(content))), None)
        if holder is not None:
            content = content[holder]
            removed.append(holder)
        elif prefix is not None:
            content = {k[len(prefix) :]: v for k, v in content.items() if k.startswith(prefix)}
            removed.append(prefix)
        else:
            return _tensors(content), tuple(removed)
    return {}, tuple(removed)


def _names(content: dict[Any, Any]) -> list[str]:
    return [k for k in content if isinstance(k, str)]


def _tensors(content: dict[Any, Any]) -> State:
    return {k: v for k, v in content.items() if isinstance(v, Tensor)}


def recognise(state: dict[str, Any]) -> Layout | None:
    """Return the layout that the keys of a bare state dict have, or None."""
    if "layer1.0.prelu.weight" in state and "features.running_mean" in state:
        depth = tuple(_count(state, rf"layer{n}\.(\d+)\.conv1\.weight") for n in (1, 2, 3, 4))
        return Layout("arcface_torch", _name_of(depth, iresnet.LAYERS))
    if "layers.0.layers.0.weight" in state and "conv_sep.layers.0.weight" in state:
        return _mbf(state)
    if "conv_6_sep.conv.weight" in state and "conv_23.conv_dw.conv.weight" in state:
        return Layout("CurricularFace or TFace", "mobilefacenet")
    if "input_layer.0.weight" in state and "output_layer.3.weight" in state:
        return _ir(state)
    if "model." in {k[:6] for k in state} and "features.running_mean" in state:
        return Layout("frfw", None)  # a timm model inside our embedding layer
    return None


def _mbf(state: dict[str, Any]) -> Layout:
    blocks = tuple(
        _count(state, rf"layers\.{n}\.layers\.(\d+)\.layers\.0\.layers\.0\.weight")
        for n in (3, 5, 7)
    )
    known = {name: blocks[1:] for name, (blocks, _) in mbf.VARIANTS.items()}
    return Layout("arcface_torch", _name_of(blocks, known))


def _ir(state: dict[str, Any]) -> Layout:
    """Tell AdaFace's blocks (a BN between the convolutions) from CurricularFace's (none)."""
    depth = [0, 0, 0, 0]
    stage = {64: 0, 128: 1, 256: 2, 512: 3}
    for key, value in state.items():
        if re.fullmatch(r"body\.\d+\.res_layer\.1\.weight", key):
            depth[stage.get(int(value.shape[0]), 3)] += 1
    inner = getattr(state.get("body.0.res_layer.2.running_mean"), "ndim", 0) == 1
    options: dict[str, Any] = {} if inner else {"inner_norm": False}
    if any(".fc1." in key for key in state):
        options["se"] = True
    name = _name_of(tuple(depth), ir.LAYERS)
    if inner:  # TFace publishes the same keys for RGB
        return Layout("AdaFace", name, "bgr", certain=False, options=options)
    return Layout("CurricularFace", name, options=options)


def _count(state: dict[str, Any], pattern: str) -> int:
    return len({m.group(1) for k in state if (m := re.fullmatch(pattern, k))})


def _name_of(depth: tuple[int, ...], known: dict[str, tuple[int, ...]]) -> str | None:
    return next((name for name, layers in known.items() if tuple(layers) == depth), None)
