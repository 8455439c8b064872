"""Fine-tuning choices as the trainer meets them: parameter groups, freezing, warm-up of the loss."""

from __future__ import annotations

from typing import Any

from frfw.training.model import FaceModel
from frfw.training.optimizer import ParameterGroup, decay_groups


class Tuner:
    """Applies `finetune` to a model and to the steps of a run.

    Args:
        config: the resolved config.
        model: what is trained.
        dataset: the training data.
        steps: optimizer steps of the run.
    """

    def __init__(self, config: dict[str, Any], model: FaceModel, dataset: Any, steps: int) -> None:
        self.config, self.model = config, model

    def backbone_groups(self, weight_decay: float) -> list[ParameterGroup]:
        """Return the backbone's parameter groups."""
        return decay_groups(self.model.backbone, weight_decay)

    def before_step(self, step: int) -> None:
        """Set what changes with the step."""
