"""Fine-tuning: start from given weights, and change them with care."""

from __future__ import annotations

from frfw.training.finetune.table import before_after
from frfw.training.finetune.tuning import DEFAULTS, FineTuning
from frfw.training.finetune.weights import load_backbone, read_weights

__all__ = ["DEFAULTS", "FineTuning", "before_after", "load_backbone", "read_weights"]
