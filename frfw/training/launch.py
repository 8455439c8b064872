"""Start a run's processes: this one, or N workers through torch's elastic launcher."""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import sys
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import record

from frfw.errors import FrfwError
from frfw.training import distributed
from frfw.training.forward_signals import ForwardSignals
from frfw.training.stragglers import KillStragglers
from frfw.values import flag

Result = dict[str, Any]
# Until a worker that heeds no signal is killed. Workers get to save before: see ForwardSignals.
_GRACE_S = 8
# The same after another worker has failed: there is nothing to save any more.
_AFTER_FAILURE_S = 3
_NO_LEAKS_SAID = "ignore::UserWarning:multiprocessing.resource_tracker"


class WorkerFailed(FrfwError):
    """A worker ended with an error; the message is the first cause."""


def launch(config: dict[str, Any], run_dir: Path, overrides: list[str]) -> Result:
    """Run the training that `config` describes and return its result.

    Args:
        config: the resolved config; workers get it as it is.
        run_dir: the run's folder.
        overrides: the command line's overrides, stored for a later resume.
    """
    devices = config["trainer"]["devices"]
    if devices < 1:
        raise FrfwError(f"trainer.devices={devices} must be 1 or more")
    _plain_start_method()
    if distributed.under_torchrun() or devices == 1:
        return work(config, str(run_dir), overrides)
    return _elastic(devices, config, run_dir, overrides)


def _plain_start_method() -> None:
    """Undo joblib's: inside its processes the default way to start others is its own, "loky".

    A process started from there by any other way would be told to use it too, and does not know it.
    """
    if multiprocessing.get_start_method(allow_none=True) not in (
        None,
        *multiprocessing.get_all_start_methods(),
    ):
        multiprocessing.set_start_method(None, force=True)


def work(config: dict[str, Any], run_dir: str, overrides: list[str]) -> Result:
    """Be one rank of a run: join the others, train, leave."""
    _limit_threads(config)
    deterministic = flag(config["trainer"]["deterministic"], "trainer.deterministic")
    with _kernels_that_repeat() if deterministic else contextlib.nullcontext():
        return _work(config, run_dir, overrides)


def _work(config: dict[str, Any], run_dir: str, overrides: list[str]) -> Result:
    from frfw.training.trainer import Trainer

    ranks = distributed.join(config["trainer"]["device"], config["trainer"]["timeout_s"])
    try:
        # Ranks that composed their own config (torchrun) take rank 0's, time stamps included.
        config, run_dir, overrides = distributed.from_main(ranks, (config, run_dir, overrides))
        result = Trainer(config, Path(run_dir), overrides, ranks).run()
        distributed.barrier(ranks)  # a rank that is halted now would leave the launcher waiting
        return result
    except BaseException as error:
        _clear_frames(error)
        raise
    finally:
        distributed.leave(ranks)


def _clear_frames(error: BaseException | None) -> None:
    """Drop what the frames of an error and of its causes hold: it would keep the process group."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _limit_threads(config: dict[str, Any]) -> None:
    import torch

    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    threads = config["trainer"]["threads"]
    if threads is None and (processes > 1 or "OMP_NUM_THREADS" not in os.environ):
        threads = max(1, (os.cpu_count() or 1) // processes)
    if threads is not None:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _kernels_that_repeat() -> Iterator[None]:
    """Where an operation has none that repeats, torch warns and takes what there is."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    cudnn, memory = torch.backends.cudnn, torch.utils.deterministic
    before = cudnn.deterministic, memory.fill_uninitialized_memory
    asked = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    cudnn.deterministic = True
    memory.fill_uninitialized_memory = False  # which checks a program, and changes no result
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(asked, warn_only=warned)
        cudnn.deterministic, memory.fill_uninitialized_memory = before


@record
def _worker(config_json: str, run_dir: str, overrides: list[str]) -> Result:
    """Entry point of a spawned worker; its first error is handed to the launcher."""
    from frfw import command

    try:
        return work(json.loads(config_json), run_dir, overrides)
    except BaseException as error:
        if not isinstance(error, SystemExit):
            command.report(error)
        raise


def _elastic(devices: int, config: dict[str, Any], run_dir: Path, overrides: list[str]) -> Result:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        monitor_interval=0.2,
        start_method="spawn",
        signals_to_handle="SIGHUP,SIGQUIT",
        shutdown_timeout=_GRACE_S,
    )
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // devices)))
    # What a killed worker leaves behind is cleaned up; the cause shall be the last line printed.
    os.environ.setdefault("PYTHONWARNINGS", _NO_LEAKS_SAID)
    # Its traceback adds nothing to the cause that is printed, and takes seconds to format.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    try:
        with ForwardSignals(), KillStragglers(devices, _AFTER_FAILURE_S):
            results = elastic_launch(settings, _worker)(json.dumps(config), str(run_dir), overrides)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0 and failure.exitcode not in (1,):
            sys.exit(failure.exitcode)  # a run that was told to stop has its own exit code
        raise WorkerFailed(f"rank {rank} failed: {_cause(failure)}") from error
    return results[0]


def _cause(failure: Any) -> str:
    message = failure.message
    if isinstance(message, dict):
        message = message.get("message", message)
    lines = str(message).strip().splitlines()
    text = lines[-1] if lines else "no message"
    return text.partition("FrfwError: ")[2] or text
