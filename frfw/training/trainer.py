"""The training loop: read it from `run` downwards."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import torch

from frfw.errors import FrfwError
from frfw.training import batchnorm, preflight, rank_checks, resume, start_from
from frfw.training.batches import Batches
from frfw.training.build import Parts, build
from frfw.training.distributed import Ranks, average, barrier
from frfw.training.faults import Diverged, FaultHandler
from frfw.training.guards import StepGuard, clip_, global_norm
from frfw.training.mining import create_mining
from frfw.training.optimizer import set_lr
from frfw.training.recorder import Recorder
from frfw.training.run_folder import RunFolder
from frfw.training.step import StepResult
from frfw.training.stopping import StopRequest
from frfw.training.validation import Validator

Config = dict[str, Any]


class Trainer:
    """Trains one run on this rank.

    Args:
        config: the resolved config.
        run_dir: the run's folder; only rank 0 writes to it.
        overrides: the command line's overrides, stored for a later resume.
        ranks: this process among its peers.
    """

    def __init__(self, config: Config, run_dir: Path, overrides: list[str], ranks: Ranks) -> None:
        self.config, self.ranks, self.folder = config, ranks, RunFolder(run_dir)
        self.settings = config["trainer"]
        self.overrides = overrides
        self.step = 0  # optimizer steps done
        self.evaluation_owed = False  # one was abandoned for a signal
        self.best: dict[str, Any] = {"metric": None, "value": None, "step": None}
        self.metrics: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Train to the end, or until told to stop; return what `result.json` holds."""
        with StopRequest(self.ranks) as self.stop:
            return self._run()

    def _run(self) -> dict[str, Any]:
        started = time.monotonic()
        resume.prepare_folder(self)
        found = resume.find(self)
        self.parts: Parts = build(self.config, self.ranks, resuming=found is not None)
        self.plan = self.parts.plan
        self.guard = StepGuard(
            [*self.parts.model.loss_modules, self.parts.backbone], self.ranks.device
        )
        self.recorder = Recorder(self, start_step=found.step if found else 0)
        try:
            self.mining = create_mining(self)
            self.validator = Validator(self)
            preflight.check(self)
            if self.settings["dry_run"]:
                return self._end("dry_run", started)
            resume.restore(self, found)
            if found is None:
                start_from.place_head(self)
            self.faults = FaultHandler(self)
            stopped = self._loop()
            return self._end("stopped" if stopped else "finished", started, stopped)
        except Diverged as error:
            self._end("diverged", started, error=str(error))
            raise FrfwError(str(error)) from error
        except Exception as error:
            self.recorder.tracker.message(f"error: {error}", console=False)
            raise
        finally:
            self.recorder.close()

    def _loop(self) -> str | None:
        """Step until the end of the run; return the signal's name when told to stop before."""
        if self.evaluation_owed or (self.settings["evaluate_first"] and self.step == 0):
            with self.recorder.paused():
                done = self._evaluate()
                if self.step or not done:
                    self.save()
            if not done:
                return self.stop.agreed()
        while self.step < self.plan.steps:
            if self.mining is not None:
                self.mining.begin()
            with contextlib.closing(self.parts.batches(self.step)) as batches:
                signal = self._epochs(batches)
            if signal:
                return signal
        return None

    def _epochs(self, batches: Batches) -> str | None:
        """Step through `batches` until they end, a signal comes, or the run was rolled back."""
        for micro_batches in batches:
            self._train_step(micro_batches, batches.waited)
            last = self.step == self.plan.steps
            with self.recorder.paused():
                self._compare_ranks()
                if last or self._due("evaluate_every"):
                    self._evaluate()
                signal = self.stop.agreed()
                # A streak of bad steps is not saved: going back must find what was before it.
                due = self._due("checkpoint_every") and not int(self.guard.streak)
                if last or signal or due:
                    self.save()
            if signal and (self.evaluation_owed or not last):
                return signal
            if self.faults.rolled_back:  # the position in the data went back too
                return None
        return None

    def _evaluate(self) -> bool:
        """Evaluate; what a signal cut off is made good when the run goes on."""
        done = self.validator.evaluate()
        self.evaluation_owed = not done
        return done

    def _train_step(self, micro_batches: list[Any], waited: float) -> None:
        """Forward, backward, clip, step; then log where it is due."""
        logging = (self.step + 1) % self.settings["log_every"] == 0 or self.step == 0
        model, parts = self.parts.model, self.parts
        if model.head is not None:
            model.head.statistics = logging
        lr = parts.lr * parts.schedule.factor(self.step) * self.faults.lr_factor
        parts.tuning.before_step(self.step)
        for optimizer in parts.optimizers.values():
            set_lr(optimizer, lr)
        self.guard.begin()
        result = parts.forward_backward(micro_batches, self.step)
        norm, found_inf = self._apply_gradients(result.loss)
        self.guard.end(found_inf)
        if parts.ema is not None:
            parts.ema.update(parts.backbone, self.step, found_inf)
        self.step += 1
        self.faults.remember(self.step, micro_batches, found_inf)
        self.recorder.count(micro_batches, waited)
        if logging:
            self._log(result, lr, norm)
        self.faults.check(logging)

    def _apply_gradients(self, loss: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Clip by the global norm and step all optimizers, unless something is not finite."""
        parts, scaler = self.parts, self.parts.precision.scaler
        if scaler.is_enabled():
            for optimizer in parts.optimizers.values():
                scaler.unscale_(optimizer)
        plain, sharded = parts.gradient_lists()
        norm, found_inf = global_norm(plain, sharded, loss, self.ranks.group)
        if self.settings["clip_norm"] is not None:
            clip_(plain + sharded, norm, self.settings["clip_norm"])
        for optimizer in parts.optimizers.values():
            optimizer.found_inf = found_inf  # read by the fused kernels, on the device
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if scaler.is_enabled():
            scaler.update()
        return norm, found_inf

    def _log(self, result: StepResult, lr: float, norm: torch.Tensor) -> None:
        result.loss = average(self.ranks, result.loss)
        self.recorder.log(self.step, result, lr, norm, self.guard)

    def _due(self, key: str) -> bool:
        """Whether an event of `key` steps (None: an epoch) falls on the step just done."""
        every = self.settings[key] or self.plan.steps_per_epoch
        return int(self.step / every) > int((self.step - 1) / every)

    def _compare_ranks(self) -> None:
        """Stop when the ranks' weights have drifted apart, every `sync_check_every` steps."""
        every = self.settings["sync_check_every"]
        if self.ranks.world == 1 or not every or self.step % every:
            return
        batchnorm.average_statistics(self.parts.backbone, self.ranks)
        modules = [self.parts.backbone, *self.parts.model.loss_modules]
        shared = modules[:1] if self.parts.head_is_sharded else modules
        rank_checks.same_weights(self.ranks, shared, self.step)

    def save(self) -> None:
        """Write a checkpoint of everything; the head's shards by all ranks, the rest by rank 0."""
        backbone = self.parts.backbone
        own = batchnorm.own_statistics(backbone, self.ranks)
        self.average_statistics()
        resume.save(self, own)
        batchnorm.take_own(backbone, self.ranks, own)  # when it was saved changes nothing
        barrier(self.ranks)

    def average_statistics(self) -> None:
        """Batch norm's statistics over all ranks, in the weights that are scored and shipped."""
        batchnorm.average_statistics(self.parts.backbone, self.ranks)
        if self.parts.ema is not None:
            self.parts.ema.take_buffers(self.parts.backbone)

    def epoch(self) -> float:
        """Passes over the data so far."""
        return self.step / self.plan.steps_per_epoch

    def _end(
        self, status: str, started: float, signal: str | None = None, error: str = ""
    ) -> dict[str, Any]:
        result = {
            "status": status,
            "metrics": self.metrics,
            "best": self.best,
            "steps": self.step,
            "minutes": (time.monotonic() - started) / 60,
            "run": str(self.folder.path),
        }
        if error:
            result["error"] = error
        if self.ranks.is_main:
            self.folder.write_result(result)
            self.recorder.finish(result, signal)
        return result
