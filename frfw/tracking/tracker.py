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
from frfw.tracking.projector import add_projector

METRICS = "metrics.jsonl"


class Tracker:
    """Writes `log.txt`, `metrics.jsonl` and `tensorboard/` of one run folder.

    Args:
        run_dir: the run folder; made if it is not there.
        config: the resolved config as plain dicts and lists; shown in TensorBoard's text page.
        enabled: False on every rank but 0; all methods then do nothing.
        start_step: optimizer step the run continues from. What an earlier process logged beyond
            it is dropped, since it will be logged again; the rest is kept and gone on with.

    Tensors handed to `scalars` stay on their device until that call, which fetches all of them
    with one copy: call it on logging steps only.
    """

    def __init__(
        self,
        run_dir: str | Path,
        config: Mapping[str, Any] | None = None,
        enabled: bool = True,
        start_step: int = 0,
    ) -> None:
        self.run_dir = Path(run_dir)
        self.enabled = enabled
        self._closed = False
        if not enabled:
            return
        from torch.utils.tensorboard import SummaryWriter

        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._log = RunLog(self.run_dir / "log.txt")
        path = self.run_dir / METRICS
        goes_on = path.is_file()
        self._start = time.monotonic() - (rewind(path, start_step) if goes_on else 0.0)
        self._metrics = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(
            str(self.run_dir / "tensorboard"), purge_step=start_step + 1 if goes_on else None
        )
        if config is not None and not goes_on:
            text = json.dumps(config, indent=2, default=str)
            self._board.add_text("config", f"```\n{text}\n```", 0)

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
        return numbers

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

    def finish(self, hparams: Mapping[str, Any], results: Mapping[str, float]) -> None:
        """Fill TensorBoard's HParams page: what the run was set to, and where it ended.

        Written into the run's own events (not a sub-folder), so that the page has one row a run.
        `results` are final numbers, such as {"lfw/accuracy": 0.993}; settings that are neither
        text, numbers nor booleans are written as text.
        """
        if not self.enabled:
            return
        from torch.utils.tensorboard.summary import hparams as summary

        plain = {
            k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in hparams.items()
        }
        final = {f"final/{k}": float(v) for k, v in results.items()}
        for part in summary(plain, final):
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


def rewind(path: Path, step: int) -> float:
    """Keep the whole lines of `metrics.jsonl` up to `step`; return the seconds they cover."""
    kept, seconds = [], 0.0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
            at, time_of = int(record["step"]), float(record.get("time", 0.0))
        except (ValueError, KeyError, TypeError):
            continue  # half a line of a killed process
        if at <= step:
            kept.append(line + "\n")
            seconds = max(seconds, time_of)
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text("".join(kept), encoding="utf-8")
    os.replace(aside, path)
    return seconds
