"""What the trainer tells the tracker: throughput, waiting, the head's statistics, progress."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frfw.tracking import Progress, Tracker, head_statistics, write_environment
from frfw.tracking.headline import headline
from frfw.tracking.runs import read_metrics
from frfw.training.finetune import before_after
from frfw.training.guards import StepGuard
from frfw.training.step import StepResult

if TYPE_CHECKING:
    from frfw.training.trainer import Trainer

_SHOWN = ("train/loss", "head/accuracy_no_margin", "train/images_per_s")


class Recorder:
    """Counts between logging steps and writes at them; only rank 0 writes.

    Tensors stay on the device until a logging step turns them into numbers.
    """

    def __init__(self, trainer: Trainer, start_step: int) -> None:
        self._trainer = trainer
        main, run = trainer.ranks.is_main, trainer.folder.path
        self.tracker = Tracker(run, trainer.config, enabled=main, start_step=start_step)
        self._progress = Progress(
            trainer.plan.steps, start_step, log=self.tracker.message, enabled=main
        )
        if main:
            ranks = trainer.ranks
            write_environment(run, ranks.device, ranks.world, steps=trainer.plan.steps)
        self._images = 0
        self._waited = 0.0
        self._since = time.perf_counter()

    def message(self, text: str) -> None:
        """Write a line to the log and the terminal."""
        self.tracker.message(text)

    def count(self, micro_batches: list[Any], waited: float) -> None:
        """Count a step's images (over all ranks) and the wait for them."""
        self._images += sum(len(b.labels) for b in micro_batches) * self._trainer.ranks.world
        self._waited += waited
        self._progress.update(self._trainer.step)

    def log(self, step: int, result: StepResult, lr: float, norm: Any, guard: StepGuard) -> None:
        """Write the scalars of a logging step."""
        elapsed = max(time.perf_counter() - self._since, 1e-9)
        scalars: dict[str, Any] = {
            "train/loss": result.loss,
            "train/lr": lr,
            "train/grad_norm": norm,
            "train/epoch": self._trainer.epoch(),
            "train/images_per_s": self._images / elapsed,
            "train/data_wait": self._waited / elapsed,
            "train/skipped_steps": guard.skipped,
        }
        if result.value.head is not None:
            formula = self._trainer.parts.model.head.formula
            scalars |= head_statistics(result.value.head, result.embeddings, formula)
        if result.value.extra is not None:
            scalars["train/extra_loss"] = result.value.extra
        numbers = self.tracker.scalars(step, scalars)
        shown = {k: numbers[k] for k in _SHOWN if k in numbers}
        self._progress.update(step, shown)
        self._images, self._waited, self._since = 0, 0.0, time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what happens inside (an evaluation, a checkpoint) out of the throughput."""
        started = time.perf_counter()
        yield
        self._since += time.perf_counter() - started

    def finish(self, result: dict[str, Any], signal: str | None) -> None:
        """Write the run's summary and its report."""
        run = self._trainer.folder.path
        self._progress.close()
        if signal:
            self.message(f"stopped by {signal} at step {result['steps']}; resume={run} goes on")
        elif result["status"] == "dry_run":
            self.message("dry run: all checks passed, stopped before the first step")
        else:
            self.tracker.finish(*_summary(self._trainer.config, result))
            self.tracker.flush()
            if self._trainer.config["init_from"]:
                for line in before_after(read_metrics(run / "metrics.jsonl")):
                    self.message(line)
            if self._trainer.settings["report"]:
                self._report(run)
            self.message(f"TensorBoard: tensorboard --logdir {run / 'tensorboard'}")

    def _report(self, run: Path) -> None:
        """Write report.html; a trained run is not lost because its report failed."""
        try:
            from frfw.tracking import write_report

            self.message(f"report: {write_report(run)}")
        except Exception as error:
            self.message(f"warning: no report ({error}); try python -m frfw.report {run}")

    def close(self) -> None:
        """Flush and close all files."""
        self._progress.close()
        self.tracker.close()


def _summary(config: dict[str, Any], result: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """What TensorBoard's HParams page compares runs by, and where this run ended."""
    hparams = {
        "backbone": config["backbone"]["name"],
        "seed": config["seed"],
        "global_batch_size": config["trainer"]["global_batch_size"],
        "base_lr": config["optimizer"]["base_lr"],
        "augment": config["augment"]["name"],
        "weighting": config["weighting"]["name"],
        "loss": config["loss"]["name"],
        **{f"loss.{k}": v for k, v in config["loss"].items() if k != "name"},
    }
    finals = {
        f"{name}/{figure}": metrics[figure]
        for name, metrics in result["metrics"].items()
        if (figure := headline(metrics))
    }
    return hparams, finals
