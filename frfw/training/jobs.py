"""From a composed config to a started run: its name, its folder, what it resumes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from frfw.config import config_dir
from frfw.errors import FrfwError
from frfw.tracking.config_keys import counts, flatten
from frfw.training import distributed
from frfw.training.launch import launch
from frfw.training.run_folder import RunFolder
from frfw.training.stopping import EXIT_CODE

_TIME = "%Y%m%d-%H%M%S"


def run_single(cfg: DictConfig, overrides: list[str]) -> dict[str, Any]:
    """Start or continue the one run of a command line."""
    if cfg.resume not in (None, "auto"):
        cfg, run_dir = _resumed(Path(str(cfg.resume)), overrides)
    else:
        if cfg.resume == "auto" and cfg.name is None:
            raise FrfwError("resume=auto: which run? Add name=NAME, or use resume=runs/NAME")
        run_dir = Path(cfg.runs) / _name(cfg)
    result = launch(_resolve(cfg), run_dir, overrides)
    if result["status"] == "stopped":
        sys.exit(EXIT_CODE)
    return result


def run_sweep_job(cfg: DictConfig, overrides: list[str], folder: Path) -> None:
    """Run one job of a sweep in its own folder; a failure is written down, not raised."""
    from frfw import command
    from frfw.training.sweep import job_name

    if distributed.under_torchrun():
        raise FrfwError("a sweep (-m) starts its own workers: use trainer.devices=N, not torchrun")
    run = RunFolder(folder / job_name(overrides))
    done = run.read_result()
    if done and done.get("status") == "finished":
        _refuse_other_job(run, cfg)
        print(f"{run.path}: finished before, not repeated", flush=True)
        return
    if cfg.resume is None and run.path.is_dir():
        OmegaConf.update(cfg, "resume", "auto")  # a job that was cut off goes on
    print(f"job {run.path}", flush=True)
    try:
        result = launch(_resolve(cfg), run.path, overrides)
        if result["status"] == "stopped":
            sys.exit(EXIT_CODE)  # told to stop: the jobs after this one are not started either
    except Exception as error:
        command.report(error)
        run.path.mkdir(parents=True, exist_ok=True)
        result = run.read_result() or {}
        status = "diverged" if result.get("status") == "diverged" else "failed"
        run.write_result({**result, "status": status, "error": command.one_line(error)})


def _refuse_other_job(run: RunFolder, cfg: DictConfig) -> None:
    """Refuse to take an earlier job's results for those of another config.

    Raises:
        FrfwError: names the keys that differ.
    """
    before = flatten(yaml.safe_load(run.config_file.read_text()) or {})
    now = flatten(_resolve(cfg))
    differing = [k for k in now if counts(k) and k in before and before[k] != now[k]]
    if differing:
        told = ", ".join(f"{k} ({before[k]} then, {now[k]} now)" for k in differing[:3])
        raise FrfwError(
            f"{run.path} finished before with other values of {told}: sweep into another folder "
            "(hydra.sweep.dir=), or remove this one"
        )


def _name(cfg: DictConfig) -> str:
    if cfg.name is not None:
        return str(cfg.name)
    backbone = str(cfg.backbone.name).replace("/", "-")
    # Processes of one torchrun must agree, also when it starts them again: its process number.
    when = f"torchrun{os.getppid()}" if distributed.under_torchrun() else time.strftime(_TIME)
    return f"{cfg.loss.name}-{backbone}-{when}"


def _resolve(cfg: DictConfig) -> dict[str, Any]:
    if OmegaConf.is_missing(cfg.data, "path"):
        from frfw.data.source import NO_PATH  # opens image libraries

        if not cfg.data.sources:
            raise FrfwError(NO_PATH)
        first = cfg.data.sources[0]
        cfg.data.path = first if isinstance(first, str) else first.get("path")
    resolved = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    return {str(k): v for k, v in resolved.items() if k != "experiment"}


def _resumed(path: Path, overrides: list[str]) -> tuple[DictConfig, Path]:
    """Compose the stored overrides of the run that `path` belongs to, then the new ones."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    run = _run_of(path)
    stored = yaml.safe_load(run.overrides_file.read_text()) or []
    kept = [o for o in stored if not o.startswith(("resume=", "hydra."))]
    new = [o for o in overrides if not o.startswith("hydra.")]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[*kept, *new])
    return cfg, run.path


def _run_of(path: Path) -> RunFolder:
    for folder in (path, *path.parents[:2]):
        run = RunFolder(folder)
        if run.overrides_file.is_file():
            return run
    raise FrfwError(
        f"resume={path}: no run folder there (looked for overrides.yaml); "
        "give runs/NAME or a checkpoint inside it, or use init_from= for weights alone"
    )
