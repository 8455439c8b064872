"""frfw: train, evaluate and ship face-recognition embeddings."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frfw.backbones import create_backbone
    from frfw.classifier import create_classifier
    from frfw.embedder import load

__version__ = "0.1.0"
__all__ = ["create_backbone", "create_classifier", "load"]

_HOMES = {
    "create_backbone": "frfw.backbones",
    "create_classifier": "frfw.classifier",
    "load": "frfw.embedder",
}


def __getattr__(name: str) -> Any:
    # Imported on first use, so that commands which need no torch start at once.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'frfw' has no attribute '{name}'")
