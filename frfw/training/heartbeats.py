"""Waiting for the other ranks for as long as they live, and no longer."""

from __future__ import annotations

import os
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

    Args:
        store: the key-value store that the ranks share.
        rank, world: this process among its peers.
        silence_s: seconds without a beat after which a rank counts as gone.
    """

    def __init__(self, store: Any, rank: int, world: int, silence_s: float) -> None:
        self._store, self._rank, self._world, self._silence = store, rank, world, silence_s
        self._prefix = f"frfw/alive/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
        self._turn = 0
        self._stopped = threading.Event()
        own = _connection(store)  # so that a stuck beat does not block the waiting
        threading.Thread(target=self._beat, args=(own,), daemon=True, name="heartbeat").start()

    def _beat(self, store: Any) -> None:
        count = 0
        while not self._stopped.is_set():
            count += 1
            try:
                store.set(f"{self._prefix}/beat/{self._rank}", str(count))
            except RuntimeError:  # the store is gone; whoever needs it says so
                return
            self._stopped.wait(_EVERY_S)

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def wait_for_all(self) -> None:
        """Return when every rank has called this as often as this one.

        Raises:
            FrfwError: names a rank that is not there and whose heart does not beat.
        """
        self._turn += 1
        self._store.set(self._key(self._turn, self._rank), "here")
        started, pause = time.monotonic(), 0.001
        heard = {r: (b"", started) for r in range(self._world) if r != self._rank}
        missing = list(heard)
        while missing:
            missing = [r for r in missing if not self._store.check([self._key(self._turn, r)])]
            for rank in missing:
                heard[rank] = self._listen(rank, *heard[rank])
            if missing:
                time.sleep(pause)
                pause = min(2 * pause, 0.1)
        if self._turn > 2:  # nobody looks at that one any more
            self._store.delete_key(self._key(self._turn - 2, self._rank))

    def _listen(self, rank: int, beat: bytes, since: float) -> tuple[bytes, float]:
        key, now = f"{self._prefix}/beat/{rank}", time.monotonic()
        latest = self._store.get(key) if self._store.check([key]) else b""
        if latest != beat:
            return latest, now
        if now - since > self._silence:
            raise FrfwError(
                f"rank {rank} has given no sign of life for {self._silence:.0f} s: it is halted, "
                "or the network between the machines is cut; look at its log, then resume=auto"
            )
        return beat, since

    def _key(self, turn: int, rank: int) -> str:
        return f"{self._prefix}/{turn}/{rank}"


def _connection(store: Any) -> Any:
    try:
        return store.clone()
    except (AttributeError, NotImplementedError, RuntimeError):
        return store  # a store of another kind
