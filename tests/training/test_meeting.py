"""Ranks meet before there is a process group; who does not come is named."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import torch.distributed as dist

from frfw.errors import FrfwError
from frfw.training import meeting


@pytest.fixture
def address(monkeypatch):
    """A free port at which the ranks of this test meet, and little patience."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", port)
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    monkeypatch.setattr(meeting, "PATIENCE_S", 3.0)
    return port


def test_ranks_that_do_not_come_are_named(address):
    errors: dict[int, str] = {}

    def come(rank: int) -> None:
        try:
            meeting.meet(rank, 4, 3.0)
        except FrfwError as error:
            errors[rank] = str(error)

    threads = [threading.Thread(target=come, args=(rank,)) for rank in (0, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert set(errors) == {0, 2}
    for message in errors.values():
        assert message.startswith("rank(s) 1, 3 of 4 did not come within 3 s")


def test_a_rank_hears_that_rank_0_gave_up(address):
    """The store goes with rank 0: who still waits then must not end in a broken connection."""
    errors: list[str] = []
    store = meeting._open(0, 4, 3.0)

    def come(rank: int) -> None:
        with pytest.raises(FrfwError) as error:
            meeting.meet(rank, 4, 3.0)
        errors.append(str(error.value))

    first = threading.Thread(target=come, args=(2,))
    first.start()
    dist.PrefixStore("frfw/0", store).set("given up", "1 3")
    first.join(30)
    assert errors[0].startswith("rank(s) 1, 3 of 4 did not come")
    dist.PrefixStore("frfw/0", store).delete_key("given up")
    second = threading.Thread(target=come, args=(3,))
    second.start()
    time.sleep(0.5)
    del store
    second.join(30)
    assert "rank 0, at which the ranks meet, ended while rank(s)" in errors[1]


def test_all_ranks_come(address):
    stores = [None, None]

    def come(rank: int) -> None:
        stores[rank] = meeting.meet(rank, 2, 3.0)

    threads = [threading.Thread(target=come, args=(rank,)) for rank in (1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    stores[0].set("word", "said")
    assert stores[1].get("word") == b"said"


def test_rank_0_that_was_never_started(address):
    with pytest.raises(FrfwError, match=rf"no store at 127.0.0.1:{address} .*was rank 0 started"):
        meeting.meet(1, 2, 3.0)


def test_no_address(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(FrfwError, match=r"MASTER_PORT=not set .* torchrun"):
        meeting.meet(0, 2, 3.0)
