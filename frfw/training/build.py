"""Make a run's parts from its config: data, model, losses, optimizers, schedule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from frfw.backbones import create_backbone
from frfw.classifier import create_classifier
from frfw.data import Preprocessing, create_order, open_source
from frfw.data.sampler import PKOrder, ShuffledOrder
from frfw.errors import FrfwError
from frfw.losses import create_embedding_loss, create_weighting, embedding_loss_names
from frfw.training import head_memory
from frfw.training.batch_plan import BatchPlan, plan_batches
from frfw.training.batches import Batches, Phase
from frfw.training.batchnorm import synchronise
from frfw.training.distributed import Ranks
from frfw.training.ema import WeightAverage
from frfw.training.finetune import FineTuning
from frfw.training.model import FaceModel
from frfw.training.optimizer import create_optimizer, decay_groups, scaled_lr
from frfw.training.precision import Precision
from frfw.training.schedule import Schedule
from frfw.training.step import ForwardBackward

Config = dict[str, Any]


@dataclass
class Parts:
    """Everything that a run is made of, on one rank."""

    config: Config
    dataset: Any
    phase: Phase
    plan: BatchPlan
    preprocessing: Preprocessing
    model: FaceModel
    optimizers: dict[str, torch.optim.Optimizer]
    lr: float
    schedule: Schedule
    precision: Precision
    forward_backward: ForwardBackward
    ema: WeightAverage | None
    tuning: FineTuning
    notes: list[str]
    ranks: Ranks

    @property
    def backbone(self) -> nn.Module:
        return self.model.backbone

    @property
    def head_is_sharded(self) -> bool:
        return self.config["classifier"]["parallel"] != "replicated" and self.ranks.world > 1

    def gradient_lists(self) -> tuple[list[Tensor], list[Tensor]]:
        """Gradients that every rank has, and those of this rank's shard of the head alone."""
        plain: list[Tensor] = []
        sharded: list[Tensor] = []
        for name, optimizer in self.optimizers.items():
            found = [p.grad for g in optimizer.param_groups for p in g["params"]]
            into = sharded if name == "head" and self.head_is_sharded else plain
            into += [g._values() if g.is_sparse else g for g in found if g is not None]
        return plain, sharded

    def batches(self, start_step: int) -> Batches:
        """Iterate over the steps' micro-batches from `start_step` on."""
        return Batches(self, start_step)


def _check_groups(order: ShuffledOrder, batch: int) -> None:
    if isinstance(order, PKOrder) and batch % (order.p * order.k):
        raise FrfwError(
            f"trainer.global_batch_size={batch} is no multiple of data.sampler.p * data.sampler.k "
            f"= {order.p} * {order.k}: batches would cut identities in two"
        )


def build(config: Config, ranks: Ranks, resuming: bool = False) -> Parts:
    """Build a run's parts.

    Raises:
        FrfwError: whatever in the config or the data cannot be trained on, with what to do.
    """
    settings = config["trainer"]
    dataset = open_source(config["data"])
    sampler = dict(config["data"]["sampler"])
    order = create_order(sampler.pop("name"), dataset.labels, seed=config["seed"], **sampler)
    plan = plan_batches(
        order.epoch_size,
        settings["global_batch_size"],
        settings["micro_batch_size"],
        ranks.world,
        settings["epochs"],
        settings["steps"],
    )
    _check_groups(order, plan.global_batch)
    preprocessing = replace(dataset.preprocessing, size=dataset.size)
    # A resumed run has its weights; the initial ones are wanted only to be pulled towards.
    wanted = not resuming or config["finetune"]["pull"] != "none"
    tuning = FineTuning(config["finetune"], config["init_from"] if wanted else None)
    model, notes = build_model(config, dataset.num_classes, dataset.size, ranks, tuning)
    formula = model.head.formula if model.head is not None else None
    tuning.follow(model.backbone, formula, plan.steps)
    if model.head is not None:
        model.head.check_finite = False  # the step guard handles what is not finite
        model.head.check_training(
            clip_norm=settings["clip_norm"],
            accumulation=plan.accumulate,
            loss_scaling=settings["precision"] == "fp16",
        )
    optimizer = config["optimizer"]
    lr = scaled_lr(optimizer["base_lr"], optimizer["base_batch"], plan.global_batch)
    precision = Precision(settings["precision"], ranks.device, ranks.group)
    step = ForwardBackward(model, precision, preprocessing, config["seed"], tuning.pull)
    ema = WeightAverage(model.backbone, settings["ema"]) if settings["ema"] else None
    return Parts(
        config=config,
        dataset=dataset,
        phase=Phase(order, config["seed"], 0, plan.steps),
        plan=plan,
        preprocessing=preprocessing,
        model=model,
        optimizers=build_optimizers(config, model, tuning, lr),
        lr=lr,
        schedule=build_schedule(config["schedule"], plan),
        precision=precision,
        forward_backward=step,
        ema=ema,
        tuning=tuning,
        notes=notes,
        ranks=ranks,
    )


def build_backbone(config: Config, size: int) -> nn.Module:
    """Create the backbone that `config["backbone"]` names for images of `size` pixels."""
    options = dict(config["backbone"])
    options.setdefault("input_size", None)
    if options["input_size"] is None:
        options["input_size"] = size
    return create_backbone(options.pop("name"), **options)


def build_model(
    config: Config, classes: int, size: int, ranks: Ranks, tuning: FineTuning
) -> tuple[FaceModel, list[str]]:
    """Create backbone, classifier and extra loss for `classes` identities, on the device.

    Returns:
        the model, and lines that say what fine-tuning did to it.
    """
    torch.manual_seed(config["seed"])  # the same initial weights on every rank
    settings = config["trainer"]
    backbone = build_backbone(config, size)
    notes = tuning.prepare(backbone)
    dim = backbone.embedding_dim
    loss = dict(config["loss"])
    name = loss.pop("name")
    head = None
    extra_options = dict(config["extra_loss"])
    extra_name, weight = extra_options.pop("name"), extra_options.pop("weight", 1.0)
    if name in embedding_loss_names():  # an embedding loss alone
        if extra_name != "none":
            raise FrfwError(
                f"loss={name} is an embedding loss already: set extra_loss=none, "
                "or choose a softmax loss and add it with extra_loss="
            )
        extra_name, extra_options, weight = name, loss, 1.0
    else:
        head_memory.check(config, dim, classes, ranks)
        head = _classifier(config, name, loss, dim, classes, ranks)
    extra = None
    if extra_name != "none":
        extra = create_embedding_loss(extra_name, dim, classes, **extra_options)
    if settings["sync_batchnorm"]:
        backbone = synchronise(backbone, ranks)
    model = FaceModel(
        backbone,
        head,
        extra,
        weight,
        ranks,
        channels_last=settings["channels_last"],
        compiled=settings["compile"],
    )
    return model, notes


def _classifier(
    config: Config, name: str, loss: Config, dim: int, classes: int, ranks: Ranks
) -> nn.Module:
    weighting = dict(config["weighting"])
    return create_classifier(
        name,
        dim,
        classes,
        weighting=create_weighting(weighting.pop("name"), **weighting),
        group=ranks.group,
        seed=config["seed"],
        **config["classifier"],
        **loss,
    )


def build_optimizers(
    config: Config, model: FaceModel, tuning: FineTuning, lr: float
) -> dict[str, torch.optim.Optimizer]:
    """One optimizer for each of backbone, head and extra loss, so that each can be stored alone."""
    options = dict(config["optimizer"])
    for key in ("base_lr", "base_batch"):
        options.pop(key)
    name, decay = options.pop("name"), options.pop("weight_decay")
    head_decay, head_factor = options.pop("head_weight_decay"), options.pop("head_lr_factor")
    groups = {"backbone": tuning.parameter_groups(model.backbone, decay)}
    if model.head is not None:
        groups["head"] = decay_groups(model.head, head_decay, head_factor)
    if model.extra is not None:
        groups["extra_loss"] = decay_groups(model.extra, 0.0, head_factor)
    made = {k: create_optimizer(name, g, lr, **options) for k, g in groups.items() if g}
    if "head" in made:
        model.head.attach(made["head"])
    if not made:
        raise FrfwError("nothing to train: every parameter is frozen (finetune.freeze)")
    return made


def build_schedule(options: Config, plan: BatchPlan) -> Schedule:
    """Create the schedule; warm-up is given in epochs and counted in optimizer steps."""
    options = dict(options)
    warmup = round(options.pop("warmup_epochs") * plan.steps_per_epoch)
    warmup = min(warmup, plan.steps // 4)  # a run of a few steps is not all warm-up
    return Schedule(options.pop("name"), plan.steps, warmup, **options)
