"""The launcher's side of being told to stop: its workers save, and it leaves as they do."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class ForwardSignals:
    """Hands SIGTERM, SIGUSR1 and Ctrl-C on to this process's workers and goes on waiting for them.

    torch's launcher would end with an error of its own; this way the workers' exit code counts.
    Use as a context manager around the launch.
    """

    def __enter__(self) -> ForwardSignals:
        self._earlier = {number: signal.signal(number, self._forward) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        workers = multiprocessing.active_children()
        if not workers:  # nothing to save yet
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        # A terminal sends Ctrl-C to the workers too; a second one would make them leave at once.
        told = signal.SIGTERM if number == signal.SIGINT else number
        for worker in workers:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                os.kill(worker.pid, told)
