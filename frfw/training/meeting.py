"""The store where the ranks of a run meet, before there is any process group."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import torch.distributed as dist

from frfw.errors import FrfwError

PATIENCE_S = 60.0  # for all ranks to come
_POLL_S, _GIVEN_UP = 0.05, "given up"


def meet(rank: int, world: int, timeout_s: float) -> dist.Store:
    """Open the store at MASTER_ADDR:MASTER_PORT and wait until every rank has come to it.

    A process group made without this waits for a rank that was never started until its time-out,
    and does not say which.

    Args:
        rank, world: this process among its peers.
        timeout_s: of later questions to the store.

    Raises:
        FrfwError: names the ranks that did not come within a minute, or the address at which no
            store answers.
    """
    store = dist.PrefixStore(
        f"frfw/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", _open(rank, world, timeout_s)
    )
    store.set(f"here/{rank}", "here")
    missing = _missing(store, rank, world)
    if missing:
        raise FrfwError(
            f"rank(s) {', '.join(map(str, missing))} of {world} did not come within "
            f"{PATIENCE_S:.0f} s; look at their logs, or at the network between the machines"
        )
    return store


def _open(rank: int, world: int, timeout_s: float) -> dist.TCPStore:
    host, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    if not host or not port.isdigit():
        raise FrfwError(
            f"RANK={rank} and WORLD_SIZE={world} are set, but MASTER_ADDR={host or 'not set'} and "
            f"MASTER_PORT={port or 'not set'} do not say where the ranks meet: start the run with "
            "torchrun, or set them"
        )
    # torchrun's agent serves a store itself; otherwise rank 0 does.
    serve = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    timeout = timedelta(seconds=max(timeout_s, PATIENCE_S))
    try:
        return dist.TCPStore(
            host, int(port), world, serve, timeout, wait_for_workers=False, multi_tenant=True
        )
    except (dist.DistNetworkError, dist.DistStoreError) as error:
        reason = (str(error).splitlines() or ["no answer"])[0]
        raise FrfwError(
            f"rank {rank}: no store at {host}:{port} where the ranks meet ({reason}): was rank 0 "
            "started, and does a firewall let that port through?"
        ) from error


def _missing(store: dist.Store, rank: int, world: int) -> list[int]:
    """Return the ranks that did not come in time, as rank 0, which may hold the store, saw it."""
    deadline = time.monotonic() + PATIENCE_S
    missing = list(range(world))
    try:
        while missing and time.monotonic() < deadline:
            if store.check([_GIVEN_UP]):
                return [int(r) for r in store.get(_GIVEN_UP).decode().split()]
            missing = [r for r in missing if not store.check([f"here/{r}"])]
            if missing:
                time.sleep(_POLL_S)
        if missing and rank == 0:  # the others shall hear of it before the store goes
            store.set(_GIVEN_UP, " ".join(map(str, missing)))
            time.sleep(20 * _POLL_S)
    except dist.DistError as error:
        raise FrfwError(
            f"rank 0, at which the ranks meet, ended while rank(s) {', '.join(map(str, missing))} "
            f"of {world} were waited for; look at its log"
        ) from error
    return missing
