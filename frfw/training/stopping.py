"""Being told to stop: SIGTERM, SIGUSR1 and Ctrl-C save and leave; all ranks agree on the step."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

import torch
import torch.distributed as dist

from frfw.training.distributed import Ranks

EXIT_CODE = 85  # "stopped on request, resume=auto goes on": neither success nor failure
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopRequest:
    """Remembers a signal until the end of the step; a second Ctrl-C leaves at once.

    Use as a context manager around the run: the earlier handlers come back after it.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._signal = self._interrupts = 0
        self._earlier: dict[int, object] = {}
        # NCCL cannot reduce a CPU flag without a device sync; gloo can.
        needs_gloo = ranks.world > 1 and ranks.device.type == "cuda"
        self._group = dist.new_group(backend="gloo") if needs_gloo else ranks.group

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._earlier[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            os._exit(130)
        self._signal = number

    def agreed(self) -> str | None:
        """Return the signal's name when any rank has got one; call on every rank alike."""
        number = self._signal
        if self._ranks.world > 1:
            flag = torch.tensor([number])
            dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._group)
            number = int(flag.item())
        return signal.Signals(number).name if number else None
