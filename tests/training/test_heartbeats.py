"""Ranks wait for each other as long as they live."""

from __future__ import annotations

import threading
import time

import pytest
import torch.distributed as dist

from frfw.errors import FrfwError
from frfw.training.heartbeats import Heartbeats


def pair(silence: float) -> tuple[Heartbeats, Heartbeats]:
    store = dist.HashStore()
    return Heartbeats(store, 0, 2, silence), Heartbeats(store, 1, 2, silence)


def test_a_slow_rank_that_lives_is_waited_for():
    first, second = pair(1.5)
    for turn in range(4):
        slow = threading.Thread(target=lambda: (time.sleep(2.2), first.wait_for_all()))
        if turn:
            slow = threading.Thread(target=first.wait_for_all)
        slow.start()
        second.wait_for_all()
        slow.join()
    first.stop()
    second.stop()


def test_a_rank_that_is_gone_is_named():
    first, second = pair(1.2)
    second.stop()
    started = time.monotonic()
    with pytest.raises(FrfwError, match="rank 1 has given no sign of life for 1 s"):
        first.wait_for_all()
    assert time.monotonic() - started < 10
    first.stop()


def test_a_store_that_does_not_answer_is_not_waited_for():
    class Dead:
        def set(self, *_):
            time.sleep(60)

        check = get = set

    beats = Heartbeats(Dead(), 0, 2, 1.0)
    with pytest.raises(FrfwError, match=r"is gone \(no answer\)"):
        beats.wait_for_all()
