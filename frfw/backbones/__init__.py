"""Networks that turn aligned face crops into embeddings."""

from __future__ import annotations

from frfw.backbones.registry import backbone_names, create_backbone

__all__ = ["backbone_names", "create_backbone"]
