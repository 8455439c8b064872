"""A halted worker is killed soon after another one failed; workers that end well are left alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time

from frfw.training.stragglers import KillStragglers


def _work(rank: int, code: int) -> None:
    if code and rank:
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(1.5)
    sys.exit(code)


def _exit_codes(code: int) -> list[int]:
    context = multiprocessing.get_context("spawn")
    with KillStragglers(2, grace_s=1):
        workers = [context.Process(target=_work, args=(rank, code)) for rank in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return [worker.exitcode for worker in workers]


def test_a_halted_worker_is_killed_after_another_failed():
    assert _exit_codes(3) == [3, -signal.SIGKILL]


def test_workers_that_end_well_are_left_alone():
    assert _exit_codes(0) == [0, 0]
