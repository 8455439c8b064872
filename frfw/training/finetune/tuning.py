"""`finetune=`: all choices of the group, checked once, applied where a run is touched by them."""

from __future__ import annotations

from typing import Any

from torch import nn

from frfw.errors import FrfwError, nearest
from frfw.training.finetune.head_rows import choose_head, class_means, set_rows
from frfw.training.finetune.pull import Pull
from frfw.training.finetune.stages import freeze_parameters, held_norms, layer_groups
from frfw.training.finetune.warmup import LossWarmup
from frfw.training.finetune.weights import InitialWeights, load_backbone, read_weights

DEFAULTS: dict[str, Any] = {
    "channels": "auto",
    "strict": True,
    "head": "auto",
    "head_images": 20,
    "freeze": None,
    "batch_norm": "train",
    "layer_decay": 1.0,
    "warmup": 0.0,
    "warmup_m": 0.0,
    "warmup_s": None,
    "pull": "none",
    "pull_weight": 1.0,
}


class FineTuning:
    """What `config["finetune"]` asks for. Call its methods in this order:

        start = FineTuning(config.get("finetune"), config["init_from"])
        start.prepare(backbone)                 # before DDP: weights in, stages frozen
        start.place_head(head, ...)             # before the first step of a fresh run
        groups = start.parameter_groups(backbone, weight_decay)
        start.follow(backbone, formula, steps)  # once, after the parts exist
        start.before_step(step)                 # every step
        start.pull                              # a Pull, or None: a term of the loss

    Args:
        options: the group's keys; absent ones have the values of `DEFAULTS`.
        init_from: run, checkpoint or public weights, or None.

    Attributes:
        weights: what `init_from` held, or None; its checkpoint's head is there to keep.
        pull: the distillation term, or None.

    Raises:
        FrfwError: an unknown key or a bad value.
    """

    def __init__(self, options: dict[str, Any] | None, init_from: str | None) -> None:
        for key in options or {}:
            if key not in DEFAULTS:
                raise FrfwError(f"there is no finetune.{key}.{nearest(key, DEFAULTS)}")
        self.options = {**DEFAULTS, **(options or {})}
        if not 0 <= self.options["warmup"] <= 1:
            raise FrfwError("finetune.warmup is a share of the run, from 0 to 1")
        self.weights: InitialWeights | None = read_weights(init_from) if init_from else None
        self.pull: Pull | None = None
        self._norms: list[nn.Module] = []
        self._warmup: LossWarmup | None = None

    def prepare(self, backbone: nn.Module) -> list[str]:
        """Load the initial weights, keep a copy for the pull, freeze; return lines for the user."""
        options, lines = self.options, []
        if self.weights is not None:
            lines += load_backbone(
                backbone, self.weights, options["channels"], bool(options["strict"])
            )
        if options["pull"] != "none":
            if self.weights is None:
                raise FrfwError("finetune.pull needs init_from= : there is nothing to pull towards")
            self.pull = Pull(backbone, options["pull"], options["pull_weight"])
        frozen = freeze_parameters(backbone, options["freeze"])
        if frozen:
            total = sum(p.numel() for p in backbone.parameters())
            lines.append(f"frozen: {frozen / 1e6:.2f} of {total / 1e6:.2f} M backbone parameters")
        return lines

    def head_source(self, dataset: Any) -> str:
        """Return where the head starts from: "keep" (the checkpoint's), "means" or "random"."""
        if self.weights is None:
            return "random"
        return choose_head(self.options["head"], self.weights.checkpoint, dataset)

    def place_head(
        self,
        head: nn.Module,
        backbone: nn.Module,
        dataset: Any,
        preprocessing: Any,
        *,
        held: tuple[int, int] | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> str:
        """Give a head its rows from class means; every rank calls this. Return a line to print.

        Args:
            head: the classifier, or this rank's shard, of the classes `held`.
        """
        per_class = int(self.options["head_images"])
        means = class_means(
            backbone, dataset, preprocessing, per_class, held=held, rank=rank, world=world
        )
        count = set_rows(head, means)
        return f"head: {count} rows from the means of up to {per_class} embeddings a class"

    def parameter_groups(self, backbone: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        """Return the backbone's groups with `lr_factor` by stage; [] when all is frozen."""
        return layer_groups(backbone, weight_decay, self.options["layer_decay"])

    def follow(self, backbone: nn.Module, formula: nn.Module | None, steps: int) -> None:
        """Take hold of the parts whose state changes with the step.

        Args:
            formula: the classifier's loss, or None with an embedding loss alone.
            steps: optimizer steps of the run.
        """
        options = self.options
        self._norms = held_norms(backbone, options["freeze"], options["batch_norm"])
        if formula is not None and options["warmup"] > 0:
            start = {"m": options["warmup_m"], "s": options["warmup_s"]}
            self._warmup = LossWarmup(formula, start, round(options["warmup"] * steps))

    def before_step(self, step: int) -> None:
        """Set the loss's numbers for `step`, and keep held batch norms on their statistics."""
        for norm in self._norms:  # an evaluation has set them to training mode again
            norm.training = False
        if self._warmup is not None:
            self._warmup.set(step)
