"""Modules of torch whose functions have the default process group as a default argument."""

from __future__ import annotations

import importlib
import sys
from types import FunctionType, ModuleType

import torch.distributed as dist

FUNCTIONAL = "torch.distributed.nn.functional"  # torch.compile imports it, sooner or later
SHARED_SCALER = "torch.distributed.fsdp.sharded_grad_scaler"


def import_unbound(name: str) -> ModuleType:
    """Import one of these modules as if there were no process group yet.

    Their defaults are what the default group is when they are imported. A group that is there
    already would live in them for good, and so would its threads. A thread of gloo that lets go of
    its last tensor while the interpreter ends takes the process down with SIGABRT (before Python
    3.14), after all work is done and saved. A default of None means the same group to them.
    """
    module = importlib.import_module(name)
    for each in filter(None, map(sys.modules.get, (FUNCTIONAL, SHARED_SCALER))):
        for value in vars(each).values():
            for function in [value, *(vars(value).values() if isinstance(value, type) else [])]:
                _unbind(function)
    return module


def _unbind(function: object) -> None:
    if isinstance(function, FunctionType) and function.__defaults__:
        function.__defaults__ = tuple(
            None if isinstance(default, dist.ProcessGroup) else default
            for default in function.__defaults__
        )
