"""Waiting for the other ranks for as long as they live, and no longer."""

from __future__ import annotations

import threading
import time
from typing import Any

from frfw.errors import FrfwError

_EVERY_S = 1.0


class Heartbeats:
    """A barrier that waits for a rank while its heart beats.

    Rank 0 may write a checkpoint for minutes: a collective with a time-out would call that a
    fault, one without would hang for ever on a rank that is halted or cut off. So every rank sets
    a counter in the store once a second, from a thread of its own, and whoever waits looks at it.
    Only that thread speaks to the store, which may not answer for minutes when a cable is cut.

    Args:
        store: the key-value store that the ranks share.
        rank, world: this process among its peers.
        silence_s: seconds without a beat after which a rank counts as gone.
    """

    def __init__(self, store: Any, rank: int, world: int, silence_s: float) -> None:
        self._store, self._rank, self._silence = store, rank, silence_s
        self._others = [r for r in range(world) if r != rank]
        self._prefix = "alive"
        self._turn = 0
        self._met = threading.Event()  # everyone is at this turn's barrier
        self._met.set()
        self._wake, self._stopped = threading.Event(), False
        self._heard: dict[int, tuple[bytes, float]] = {}  # of missing ranks: last beat, when
        self._answered, self._failure = time.monotonic(), ""
        threading.Thread(target=self._run, daemon=True, name="heartbeat").start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self._wake.set()

    def wait_for_all(self) -> None:
        """Return when every rank has called this as often as this one.

        Raises:
            FrfwError: names a rank that is not there and whose heart does not beat, or says that
                the store does not answer.
        """
        now = time.monotonic()
        self._heard = dict.fromkeys(self._others, (b"", now))
        self._turn += 1
        self._met.clear()
        self._wake.set()
        while not self._met.wait(0.2):
            now = time.monotonic()
            if self._failure or now - self._answered > self._silence:
                raise FrfwError(
                    f"the store that the ranks meet at is gone ({self._failure or 'no answer'}): "
                    "rank 0's machine ended, or the network is cut; then resume=auto"
                )
            for rank, (_, since) in list(self._heard.items()):
                if now - since > self._silence:
                    raise FrfwError(
                        f"rank {rank} has given no sign of life for {self._silence:.0f} s: it is "
                        "halted, or the network is cut; look at its log, then resume=auto"
                    )

    def _run(self) -> None:
        count, beaten, announced, pause = 0, 0.0, 0, _EVERY_S
        try:
            while not self._stopped:
                if time.monotonic() - beaten >= _EVERY_S:
                    count, beaten = count + 1, time.monotonic()
                    self._store.set(f"{self._prefix}/beat/{self._rank}", str(count))
                if announced < self._turn:
                    announced, pause = self._turn, 0.001
                    self._store.set(self._key(announced, self._rank), "here")
                if not self._met.is_set():
                    self._look(announced)
                    pause = min(2 * pause, 0.1)
                self._answered = time.monotonic()
                self._wake.wait(_EVERY_S if self._met.is_set() else pause)
                self._wake.clear()
        except RuntimeError as error:
            self._failure = (str(error).splitlines() or ["error"])[0]

    def _look(self, turn: int) -> None:
        """See who has come to the barrier, and whether the others live."""
        if turn != self._turn:
            return
        for rank, (beat, _) in list(self._heard.items()):
            if self._store.check([self._key(turn, rank)]):
                del self._heard[rank]
                continue
            key = f"{self._prefix}/beat/{rank}"
            latest = self._store.get(key) if self._store.check([key]) else b""
            if latest != beat:
                self._heard[rank] = latest, time.monotonic()
        if not self._heard:
            if turn > 2:  # nobody looks at that one any more
                self._store.delete_key(self._key(turn - 2, self._rank))
            self._met.set()

    def _key(self, turn: int, rank: int) -> str:
        return f"{self._prefix}/{turn}/{rank}"
