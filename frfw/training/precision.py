"""Mixed precision: the backbone in bf16 or fp16 under autocast, the head always in float32."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch

from frfw.default_group import SHARED_SCALER, import_unbound
from frfw.errors import FrfwError, nearest

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """How the backbone computes, and the loss scale that fp16 needs.

    Args:
        name: fp32 | bf16 | fp16.
        device: where the backbone runs.
        group: the process group whose ranks share the scale, or None.
    """

    def __init__(self, name: str, device: torch.device, group: Any | None = None) -> None:
        if name not in PRECISIONS:
            raise FrfwError(
                f"trainer.precision={name}: there is no such precision."
                f"{nearest(name, PRECISIONS)} Choices: {', '.join(PRECISIONS)}"
            )
        self.name, self.device, self.dtype = name, device, PRECISIONS[name]
        enabled = name == "fp16"
        if group is None or not enabled:
            self.scaler = torch.amp.GradScaler(device.type, enabled=enabled)
        else:
            shared = import_unbound(SHARED_SCALER).ShardedGradScaler  # takes 2 s
            # An overflow on any rank lowers every rank's scale.
            self.scaler = shared(device.type, enabled=enabled, process_group=group)

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which the backbone runs."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)
