"""The tracker: one object that the trainer tells things, and that writes them to the run folder."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frfw.tracking.log import RunLog
from frfw.tracking.progress import Progress
from frfw.tracking.projector import add_projector

METRICS = "metrics.jsonl"
_SHOWN = ("train/epoch", "train/loss", "head/accuracy_no_margin", "train/lr", "train/images_per_s")
_HPARAM_GROUPS = (
    "loss", "weighting", "extra_loss", "backbone", "data", "augment", "optimizer", "schedule",
    "seed",
)  # fmt: skip


class Tracker:
    """Writes `log.txt`, `metrics.jsonl` and `tensorboard/` of one run folder.

    Args:
        run_dir: the run folder; made if it is not there. What an earlier process of the same run
            left there is gone on with (see `rewind`).
        config: the resolved config as plain dicts and lists, for TensorBoard's text and HParams.
        enabled: False on every rank but 0; all methods then do nothing.
        total_steps: optimizer steps of the whole run; where given, training scalars also move a
            progress bar (on a terminal) or print plain lines (elsewhere).

    Tensors handed to `scalars` stay on their device until that call, which fetches all of them
    with one copy: call it on logging steps only.
    """

    def __init__(
        self,
        run_dir: str | Path,
        config: Mapping[str, Any] | None = None,
        enabled: bool = True,
        total_steps: int | None = None,
    ) -> None:
        self.run_dir = Path(run_dir)
        self.config = dict(config or {})
        self.enabled = enabled
        self._closed = False
        if not enabled:
            return
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._log = RunLog(self.run_dir / "log.txt")
        path = self.run_dir / METRICS
        self._start = time.monotonic() - elapsed_before(path)
        is_new = not path.is_file()
        _end_last_line(path)
        self._metrics = path.open("a", encoding="utf-8")
        self._board = self._open_board()
        if config is not None and is_new:
            text = json.dumps(self.config, indent=2, default=str)
            self._board.add_text("config", f"```\n{text}\n```", 0)
        self._total = total_steps
        self._progress: Progress | None = None
        self._from_step = 0

    def _open_board(self, purge_step: int | None = None) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.run_dir / "tensorboard"), purge_step=purge_step)

    def rewind(self, step: int) -> None:
        """Drop the numbers of steps after `step`: a resumed run will write them again."""
        if not self.enabled:
            return
        self._metrics.close()
        path = self.run_dir / METRICS
        kept = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True)
                if (found := step_of(line)) is not None and found <= step]  # fmt: skip
        aside = path.with_name(f".{METRICS}.tmp")
        aside.write_text("".join(kept), encoding="utf-8")
        os.replace(aside, path)
        self._metrics = path.open("a", encoding="utf-8")
        self._board.close()
        self._board = self._open_board(purge_step=step + 1)
        self._from_step = step

    def scalars(self, step: int, values: Mapping[str, float | Tensor]) -> dict[str, float]:
        """Write named numbers for optimizer step `step`; return them as floats.

        Tensors must hold one element each. NaN and infinities are kept: as the strings "nan",
        "inf" and "-inf", since JSON has no such numbers.
        """
        if not self.enabled:
            return {}
        numbers = to_floats(values)
        line: dict[str, Any] = {"step": step, "time": round(time.monotonic() - self._start, 3)}
        line.update({k: v if math.isfinite(v) else str(v) for k, v in numbers.items()})
        self._metrics.write(json.dumps(line) + "\n")
        self._metrics.flush()
        for name, value in numbers.items():
            self._board.add_scalar(name, value, step)
        self._show(step, numbers)
        return numbers

    def _show(self, step: int, numbers: Mapping[str, float]) -> None:
        """Move the bar, or print a line, where these are numbers of a training step."""
        shown = {name: numbers[name] for name in _SHOWN if name in numbers}
        if self._total is None or "train/loss" not in shown:
            return
        if self._progress is None:
            self._progress = Progress(self._total, self._from_step, self.message)
        self._progress.update(step, shown)

    def figure(self, step: int, name: str, fig: Any) -> None:
        """Add a matplotlib figure to TensorBoard's images, and close the figure."""
        if self.enabled:
            self._board.add_figure(name, fig, step, close=True)

    def embedding(
        self, step: int, name: str, embeddings: Any, labels: Sequence[Any], images: Any = None
    ) -> None:
        """Give TensorBoard's projector (N, dim) embeddings with N labels and N thumbnails.

        `images` is (N, H, W, 3) uint8 RGB, or None. See `frfw.tracking.projector`.
        """
        if self.enabled:
            add_projector(self._board, step, name, embeddings, labels, images)

    def message(self, text: str, *, console: bool = True) -> None:
        """Write a line to `log.txt`, and to the terminal unless `console` is False."""
        if self.enabled:
            self._log.write(text, console=console)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Fill TensorBoard's HParams page: what the run was set to, and where it ended.

        Args:
            result: of the run; `result["metrics"]` maps a verification set to a dict with its
                final `accuracy` (in 0..1). Other keys are passed over.

        Written into the run's own events, so that the page has one row a run.
        """
        if not self.enabled:
            return
        from torch.utils.tensorboard.summary import hparams as summary

        final = {
            f"final/{name}/accuracy": float(metrics["accuracy"])
            for name, metrics in (result.get("metrics") or {}).items()
            if isinstance(metrics, Mapping) and metrics.get("accuracy") is not None
        }
        for part in summary(hyperparameters(self.config), final):
            self._board.file_writer.add_summary(part)
        for name, value in final.items():
            self._board.add_scalar(name, value)

    def flush(self) -> None:
        """Put everything written so far on disk."""
        if self.enabled and not self._closed:
            self._board.flush()

    def close(self) -> None:
        """Flush and close all files. May be called twice."""
        if not self.enabled or self._closed:
            return
        self._closed = True
        if self._progress is not None:
            self._progress.close()
        self._board.close()
        self._metrics.close()
        self._log.close()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def to_floats(values: Mapping[str, float | Tensor]) -> dict[str, float]:
    """Turn one-element tensors and numbers into floats with one device copy for each device."""
    by_device: dict[torch.device, list[str]] = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            by_device.setdefault(value.device, []).append(name)
    fetched: dict[str, float] = {}
    for names in by_device.values():
        stacked = torch.stack([values[n].detach().reshape(()).double() for n in names])
        fetched.update(zip(names, stacked.tolist()))
    return {n: fetched[n] if n in fetched else float(v) for n, v in values.items()}


def elapsed_before(path: Path) -> float:
    """Return the seconds that an interrupted run had run for, from its last readable line."""
    if not path.is_file():
        return 0.0
    for line in reversed(path.read_text(encoding="utf-8", errors="replace").splitlines()):
        try:
            return float(json.loads(line).get("time", 0.0))
        except (ValueError, AttributeError):
            continue
    return 0.0


def _end_last_line(path: Path) -> None:
    # A run killed in mid-write leaves half a line; what follows must not be glued to it.
    if path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")


def step_of(line: str) -> int | None:
    """Return the step of a line of `metrics.jsonl`, or None where the line is broken."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return None


def hyperparameters(config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Pick what distinguishes runs: the loss with its keys, backbone, data, batch, lr, seed.

    Group names come under the group's own name (`loss: arcface`), their keys dotted (`loss.m`).
    Lists, nested tables and keys that are not set are left out.
    """
    found: dict[str, bool | int | float | str] = {}
    for group in _HPARAM_GROUPS:
        value = config.get(group)
        for key, inner in value.items() if isinstance(value, Mapping) else [("name", value)]:
            if isinstance(inner, bool | int | float | str):
                found[group if key == "name" else f"{group}.{key}"] = inner
    trainer = config.get("trainer")
    for key in ("global_batch_size", "epochs", "steps", "precision"):
        if isinstance(trainer, Mapping) and trainer.get(key) is not None:
            found[f"trainer.{key}"] = trainer[key]
    return found
