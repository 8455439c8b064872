"""Progress of a run: a one-line bar on a terminal, plain lines in a file or a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

from tqdm import tqdm

# Below these many seconds after the last line, a run that is not on a terminal stays quiet.
_LINE_EVERY = 10.0


class Progress:
    """Shows how far a run is and when it will end.

    Args:
        total: optimizer steps of the whole run.
        start: step the run continues from.
        log: called as `log(text, console=bool)` with plain lines (`Tracker.message`).
        stream: where the bar is drawn if it is a terminal; standard error by default.
        enabled: False on every rank but 0.
    """

    def __init__(
        self,
        total: int,
        start: int = 0,
        log: Callable[..., None] | None = None,
        stream: TextIO | None = None,
        enabled: bool = True,
        line_every: float = _LINE_EVERY,
    ) -> None:
        self.total, self.start, self.step = total, start, start
        self._log, self._every, self._enabled = log, line_every, enabled
        self._first: tuple[int, float] | None = None  # the first step done here, and when
        self._last_line = -float("inf")
        stream = stream or sys.stderr
        self._bar = None
        if enabled and stream.isatty():
            self._bar = tqdm(
                total=total, initial=start, file=stream, dynamic_ncols=True, unit="step",
                desc="train", leave=False, smoothing=0.1,
            )  # fmt: skip

    def update(self, step: int, shown: Mapping[str, float] | None = None) -> None:
        """Say that `step` optimizer steps are done; `shown` are the latest numbers, if any.

        The bar moves at every call; `shown` (handed over on logging steps) goes beside the bar
        and, as a plain line, to the log file. Without a terminal the same line is printed too,
        at most once every ten seconds, and always at the last step.
        """
        if not self._enabled:
            return
        if self._bar is not None:
            self._bar.update(step - self.step)
            if shown:
                self._bar.set_postfix_str(_numbers(shown), refresh=False)
        self.step = step
        if self._first is None:
            self._first = step, time.monotonic()
        if shown and self._log is not None:
            now = time.monotonic()
            due = now - self._last_line >= self._every or step >= self.total
            on_console = self._bar is None and due
            if on_console:
                self._last_line = now
            self._log(self.line(shown), console=on_console)

    def line(self, shown: Mapping[str, float]) -> str:
        """Say the progress in one line: `step 40/200  loss 12.3  ...  0:12 left`."""
        seconds, width = self.seconds_left(), len(str(self.total))
        left = "  done" if self.step >= self.total else f"  {clock(seconds)} left"
        if seconds == float("inf") and self.step < self.total:
            left = ""
        return f"step {self.step:>{width}}/{self.total}  {_numbers(shown)}{left}"

    def seconds_left(self) -> float:
        """Reckon the seconds left from the mean speed since the first step, infinite before.

        The first step does not count: it waits for loaders, compilers and a first evaluation.
        """
        first, begin = self._first or (self.step, 0.0)
        if self.step <= first:
            return float("inf")
        return (time.monotonic() - begin) / (self.step - first) * max(self.total - self.step, 0)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def clock(seconds: float) -> str:
    """Write a duration as 0:42, 12:05 or 3:02:10; unknown ones as ?."""
    if not 0 <= seconds < 1e8:
        return "?"
    whole = round(seconds)
    hours, minutes, secs = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{secs:02d}" if hours else f"{minutes}:{secs:02d}"


def _numbers(shown: Mapping[str, float]) -> str:
    return "  ".join(f"{name.rsplit('/', 1)[-1]} {value:.4g}" for name, value in shown.items())
