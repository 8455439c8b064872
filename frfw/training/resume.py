"""What a checkpoint of a run holds, how it is written, and how a run goes on from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from frfw.errors import FrfwError
from frfw.tracking.config_keys import flatten
from frfw.training import abandoned, batchnorm, checkpoint, head_shards, refusal
from frfw.training.distributed import from_main

if TYPE_CHECKING:
    from frfw.training.trainer import Trainer

# What a resumed run may not change: it would be another run.
_FIXED = ("loss", "weighting", "extra_loss", "mining", "backbone", "seed")
_WITHOUT = {"mining": {"name": "none"}}  # what a config from before the key means


def wants_resume(config: dict[str, Any]) -> bool:
    """Whether this start continues a run: asked for, or torchrun started it again."""
    return config["resume"] is not None or started_again()


def started_again() -> bool:
    """Whether torchrun has started this process before."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def prepare_folder(trainer: Trainer) -> None:
    """Make the run folder on rank 0; every rank learns when that was refused."""
    problem = None
    if trainer.ranks.is_main:
        run = trainer.folder.path
        problem = refusal.earlier(run) if started_again() else None
        try:
            if problem is None:
                resuming = wants_resume(trainer.config)
                trainer.folder.create(trainer.config, trainer.overrides, resuming)
        except FrfwError as error:
            problem = str(error)
            refusal.remember(run, problem)
    problem = from_main(trainer.ranks, problem)
    if problem:
        raise FrfwError(problem)


def save(trainer: Trainer, rank_statistics: list[dict[str, Any]] | None) -> Path:
    """Write `step_N.pt`, then let `last.pt` (and `best.pt`) be it; keep the newest few.

    Args:
        rank_statistics: each rank's own batch-norm statistics; the backbone has their average.
    """
    folder = trainer.folder.checkpoints
    path = folder / f"step_{trainer.step}.pt"
    shards = head_shards.save(trainer.parts, path)
    if trainer.ranks.is_main:
        content = collect(trainer)
        content["head_shards"], content["rank_statistics"] = shards, rank_statistics
        checkpoint.save(content, path)
        checkpoint.alias(path, "last.pt")
        if trainer.best["step"] == trainer.step:
            checkpoint.alias(path, "best.pt")
        checkpoint.prune(folder, trainer.settings["keep_checkpoints"])
        head_shards.prune(folder)
    return path


def collect(trainer: Trainer) -> checkpoint.Checkpoint:
    """Gather everything that continuing needs into tensors and plain types."""
    parts = trainer.parts
    model = parts.model
    return {
        "format": checkpoint.FORMAT,
        "backbone": model.backbone.state_dict(),
        "head": head_shards.head_state(parts),
        "extra_loss": model.extra.state_dict() if model.extra is not None else {},
        "ema": parts.ema.module.state_dict() if parts.ema is not None else None,
        "optimizer": {
            name: head_shards.optimizer_state(parts) if name == "head" else optimizer.state_dict()
            for name, optimizer in parts.optimizers.items()
        },
        "scaler": parts.precision.scaler.state_dict(),
        "counters": {
            "step": trainer.step,
            "samples": trainer.step * parts.plan.global_batch,
            "skipped": int(trainer.guard.skipped),
            "lr_factor": trainer.faults.lr_factor,
            "evaluation_owed": trainer.evaluation_owed,
        },
        "best": dict(trainer.best),
        "metrics": trainer.metrics,
        "config": trainer.config,
        "overrides": list(trainer.overrides),
        "preprocessing": parts.preprocessing.to_dict(),
        "data": {
            "fingerprint": parts.dataset.fingerprint,
            "classes": parts.dataset.num_classes,
            "images": len(parts.dataset),
        },
        "head_shards": None,
        "rank_statistics": None,
    }


@dataclass
class Found:
    """The checkpoint to go on from, and the unreadable newer ones that were passed over."""

    path: Path
    content: checkpoint.Checkpoint
    passed_over: list[str]

    @property
    def step(self) -> int:
        return self.content["counters"]["step"]


def find(trainer: Trainer) -> Found | None:
    """Return what the config asks to go on from; None for a fresh start.

    Raises:
        FrfwError: the checkpoint asked for is not there or cannot be read.
    """
    if not wants_resume(trainer.config):
        return None
    given = Path(str(trainer.config["resume"]))
    if given.is_file() and not started_again():  # then this launch has gone beyond it
        return Found(given, checkpoint.load(given), [])
    found = checkpoint.newest(trainer.folder.checkpoints)
    return Found(*found) if found else None


def restore(trainer: Trainer, found: Found | None) -> None:
    """Go on from `found`."""
    say = trainer.recorder.message
    if found is None:
        if wants_resume(trainer.config):
            say("no checkpoint to resume from yet: starting at step 0")
        return
    for line in found.passed_over:
        say(f"warning: passed over: {line}")
    refuse_other_run(trainer, found.content, found.path)
    load_into(trainer, found.content, found.path)
    told = None
    if trainer.ranks.is_main:
        trainer.folder.write_config(trainer.config)
        told = abandoned.set_aside(
            trainer.folder.checkpoints, found.path, trainer.step, trainer.best
        )
    lines, trainer.best = from_main(trainer.ranks, told)
    for line in lines:
        say(line)
    other = other_keys(found.content["config"], trainer.config)
    if other:
        say(f"goes on with other values than the checkpoint's of {', '.join(other)}")
    say(f"resumed from {found.path} at step {trainer.step}")


def refuse_other_run(trainer: Trainer, content: checkpoint.Checkpoint, path: Path) -> None:
    """Refuse to continue with another model, loss, batch or data.

    Raises:
        FrfwError: names the keys that differ.
    """
    differing = changed_keys(content["config"], trainer.config)
    if differing:
        raise FrfwError(
            f"{path} was trained with other values of {', '.join(differing)}: a resumed run keeps "
            "them; to start a new run from its weights use init_from="
        )
    fingerprint = content["data"]["fingerprint"]
    if fingerprint != trainer.parts.dataset.fingerprint:
        raise FrfwError(
            f"the data at {trainer.config['data'].get('path')} is not what {path} was trained on "
            f"({content['data']['images']} images of {content['data']['classes']} identities then, "
            f"{len(trainer.parts.dataset)} of {trainer.parts.dataset.num_classes} now); "
            "restore it, or start a new run with init_from="
        )


def changed_keys(stored: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Name the keys that a resumed run may not change and that differ."""
    before, after = OmegaConf.create(stored), OmegaConf.create(now)
    differing = [k for k in _FIXED if _value(before, k) != _value(after, k)]
    batch = "trainer.global_batch_size"
    if OmegaConf.select(before, batch) != OmegaConf.select(after, batch):
        differing.append(batch)
    return differing


def other_keys(stored: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Keys whose value a resumed run may change, and did: it goes on otherwise than it began."""
    before, after = flatten(stored), flatten(now)
    return sorted(k for k in after if k in before and before[k] != after[k] and not _own(k))


def _own(key: str) -> bool:
    """Whether a key belongs to the start of a process, not to the training."""
    return key in ("resume", "name", "runs") or key.startswith(("hydra.", "sweep"))


def _value(config: Any, key: str) -> Any:
    found = OmegaConf.select(config, key)
    return _WITHOUT.get(key) if found is None else found


def load_into(trainer: Trainer, content: checkpoint.Checkpoint, path: Path) -> None:
    """Put a checkpoint's content into the trainer's parts."""
    parts = trainer.parts
    load_weights(parts.model.backbone, content["backbone"], path)
    batchnorm.take_own(parts.model.backbone, trainer.ranks, content.get("rank_statistics"))
    head_shards.load(parts, content, path)
    if parts.model.extra is not None:
        parts.model.extra.load_state_dict(content["extra_loss"])
    if parts.ema is not None:
        parts.ema.module.load_state_dict(content["ema"] or content["backbone"])
    for name, optimizer in parts.optimizers.items():
        if name == "head":
            head_shards.load_optimizer(parts, content, path)
        else:
            optimizer.load_state_dict(content["optimizer"][name])
    if parts.precision.scaler.is_enabled() and content["scaler"]:
        parts.precision.scaler.load_state_dict(content["scaler"])
    trainer.step = content["counters"]["step"]
    trainer.guard.skipped.fill_(content["counters"]["skipped"])
    trainer.best = dict(content["best"])
    trainer.metrics = dict(content["metrics"])
    trainer.resumed_lr_factor = content["counters"]["lr_factor"]
    trainer.evaluation_owed = content["counters"].get("evaluation_owed", False)


def load_weights(module: Any, state: dict[str, Any], path: Path) -> None:
    """Load a backbone's state dict, or say what does not fit.

    Raises:
        FrfwError: the checkpoint is of another architecture; names the first keys that differ.
    """
    mine = {k: tuple(v.shape) for k, v in module.state_dict().items()}
    theirs = {k: tuple(v.shape) for k, v in state.items()}
    if mine != theirs:
        missing = [k for k in mine if k not in theirs]
        unknown = [k for k in theirs if k not in mine]
        shapes = [
            f"{k} {theirs[k]} for {mine[k]}" for k in mine if k in theirs and theirs[k] != mine[k]
        ]
        first = (
            [f"missing {k}" for k in missing[:2]]
            + [f"unknown {k}" for k in unknown[:2]]
            + shapes[:2]
        )
        raise FrfwError(
            f"{path} is a checkpoint of another architecture ({'; '.join(first)}); "
            "choose the backbone= it was trained with"
        )
    module.load_state_dict(state)
