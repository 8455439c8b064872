"""How a face becomes the network's input: a small object that travels with data and model."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from frfw.errors import FrfwError, nearest

_LARGEST = 4096  # pixels; beyond it a damaged file speaks


@dataclass(frozen=True)
class Preprocessing:
    """What was done to a face before the network sees it.

    Attributes:
        size: side of the square crop in pixels.
        channels: order of the colour channels the network expects, "rgb" or "bgr".
        mean, std: the network's input is (pixel - mean) / std with pixels 0..255.
        alignment: how the crop was made (template, interpolation, border, landmark source) as
            `frfw.data.alignment.Alignment.to_dict` says it; empty when nobody said.
    """

    size: int = 112
    channels: str = "rgb"
    mean: float = 127.5
    std: float = 127.5
    alignment: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.channels not in ("rgb", "bgr"):
            raise FrfwError(f"preprocessing: channels must be rgb or bgr, not {self.channels!r}")
        if not isinstance(self.size, int) or not 1 <= self.size <= _LARGEST:
            raise FrfwError(f"preprocessing: size {self.size!r} is no number from 1 to {_LARGEST}")
        for value in (self.mean, self.std):
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise FrfwError(f"preprocessing: mean {self.mean!r} and std {self.std!r}: numbers")
        if self.std <= 0:
            raise FrfwError(f"preprocessing: std {self.std} must be positive")
        if not isinstance(self.alignment, dict):
            raise FrfwError(f"preprocessing: alignment {self.alignment!r} is no mapping")

    def to_dict(self) -> dict[str, Any]:
        """Return plain types only, fit for JSON, YAML and a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """Build it from `to_dict`'s result; unknown keys raise FrfwError with the nearest name."""
        names = cls.__dataclass_fields__
        for key in values:
            if key not in names:
                raise FrfwError(f"preprocessing has no {key!r}.{nearest(key, names)}")
        return cls(**values)

    @property
    def hash(self) -> str:
        """16 hex digits that are equal exactly when all fields are."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def pixels(self, images: Tensor, device: torch.device, layout: torch.memory_format) -> Tensor:
        """Turn (B, 3, H, W) uint8 RGB into what the network takes: float32 on the device."""
        x = images.to(device, non_blocking=True)
        if self.channels == "bgr":
            x = x.flip(1)
        return x.to(torch.float32, memory_format=layout).sub_(self.mean).div_(self.std)

    def differences(self, other: Preprocessing) -> list[str]:
        """Say, field by field, where `other` disagrees; an unstated alignment agrees with any."""
        mine, theirs = self.to_dict(), other.to_dict()
        lines = [
            f"{key}: {value} against {theirs[key]}"
            for key, value in mine.items()
            if key != "alignment" and value != theirs[key]
        ]
        return lines + self.alignment_differences(other)

    def alignment_differences(self, other: Preprocessing) -> list[str]:
        """Say where the crops were made in another way; unstated agrees with any.

        The size does not count: crops are resized, and the template scales with them.
        """
        mine, theirs = self.alignment, other.alignment
        if not mine or not theirs:
            return []
        keys = [key for key in {**mine, **theirs} if key not in ("hash", "size")]
        lines = [
            f"alignment.{key}: {mine.get(key, 'unstated')} against {theirs.get(key, 'unstated')}"
            for key in keys
            if mine.get(key) != theirs.get(key)
        ]
        same_size = mine.get("size") == theirs.get("size")
        if not lines and same_size and mine.get("hash") != theirs.get("hash"):
            lines.append("alignment: the template's points changed between versions")
        return lines
