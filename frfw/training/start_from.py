"""The head of a new run that starts from given weights: kept, from class means, or random."""

from __future__ import annotations

from typing import TYPE_CHECKING

from frfw.training.head_shards import load

if TYPE_CHECKING:
    from frfw.training.trainer import Trainer


def place_head(trainer: Trainer) -> None:
    """Give the head its first rows, as `finetune.head` asks for; every rank calls this."""
    parts, ranks = trainer.parts, trainer.ranks
    head = parts.model.head
    if head is None or parts.tuning.weights is None:
        return
    source = parts.tuning.head_source(parts.dataset)
    say = trainer.recorder.message
    if source == "keep":
        load(parts, parts.tuning.weights.checkpoint, parts.tuning.weights.path)
        say(f"head: {parts.dataset.num_classes} rows kept from {parts.tuning.weights.path}")
    elif source == "means":
        line = parts.tuning.place_head(
            head,
            parts.backbone,
            parts.dataset,
            parts.preprocessing,
            held=head.class_range if parts.head_is_sharded else None,
            rank=ranks.rank,
            world=ranks.world,
        )
        say(line)
    else:
        say("head: random rows")
