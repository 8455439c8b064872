"""Workers that outlive a failed one are killed: a halted process heeds no other signal."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.process import BaseProcess


class KillStragglers:
    """Kills what is left of this process's workers some seconds after one of them failed.

    torch's launcher waits 30 s for them, on top of the time-out that made the first one fail.
    Use as a context manager around the launch.

    Args:
        workers: how many there will be.
        grace_s: seconds from the first failure to SIGKILL.
    """

    def __init__(self, workers: int, grace_s: float) -> None:
        self._workers, self._grace = workers, grace_s
        self._over = threading.Event()

    def __enter__(self) -> KillStragglers:
        threading.Thread(target=self._watch, daemon=True, name="stragglers").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        workers: list[BaseProcess] = []
        while len(workers) < self._workers:
            if self._over.wait(0.5):
                return
            workers = multiprocessing.active_children()
        failed_at = None
        while not self._over.wait(0.5):
            if failed_at is None and any(_exit_code(worker) for worker in workers):
                failed_at = time.monotonic()
            if failed_at is not None and time.monotonic() - failed_at > self._grace:
                for worker in workers:
                    if _exit_code(worker) is None:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(worker.pid, signal.SIGKILL)
                return


def _exit_code(worker: BaseProcess) -> int | None:
    """Return a child's exit code, None while it runs; it stays there for torch to ask after."""
    try:
        ended = os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # torch has asked
        return worker.exitcode
    return None if ended is None else ended.si_status
