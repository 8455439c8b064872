"""A rank that has left its process group has no thread of it left.

Before Python 3.14 a thread of the group that lets go of its last tensor while the interpreter
ends takes the whole process down with SIGABRT, after all work is done and saved.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads are read from /proc")

_RANK = """
    import atexit, contextlib, json, os, runpy, sys

    def threads():  # registered first, so called last
        names = []
        for task in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError):  # a thread may end just now
                names.append(open(f"/proc/self/task/{task}/comm").read().strip())
        print("THREADS " + json.dumps(names))

    atexit.register(threads)
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def threads_at_exit(folder, module: str, *arguments: str, code: int = 0) -> list[list[str]]:
    """Run `python -m MODULE ARGUMENTS` as ranks 0 and 1; the threads each had at its exit."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = folder / "rank.py"
    script.write_text(textwrap.dedent(_RANK))
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), module, *arguments],
            cwd=folder,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        texts = [rank.communicate(timeout=240) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    found = []
    for rank, (output, errors) in zip(ranks, texts):
        assert rank.returncode == code, errors[-3000:]
        before, marker, names = output.rpartition("THREADS ")
        assert marker, before + errors[-3000:]
        found.append(json.loads(names))
    return found


def of_a_group(names: list[str]) -> list[str]:
    return [name for name in names if "gloo" in name]


@pytest.mark.parametrize(
    "arguments",
    [
        ["loss=curricular", "classifier.mode=tiled"],
        ["loss=curricular", "classifier.mode=tiled", "classifier.parallel=sharded"],
        ["loss=arcface", "trainer.precision=fp16"],
    ],
    ids=["replicated", "sharded", "fp16"],
)
def test_training(train, arguments):
    command = train.command(*arguments, "trainer.global_batch_size=12")[3:]
    for names in threads_at_exit(train.folder, "frfw.train", *command):
        assert of_a_group(names) == []


def test_a_run_that_fails(train):
    options = ["optimizer.base_lr=1e30", "trainer.non_finite_limit=2", "loss=curricular"]
    command = train.command(*options, "classifier.mode=tiled")[3:]
    for names in threads_at_exit(train.folder, "frfw.train", *command, code=1):
        assert of_a_group(names) == []


def test_evaluation(train):
    assert train("name=done").returncode == 0
    arguments = ["checkpoint=runs/done", "device=cpu", "threads=1"]
    for names in threads_at_exit(train.folder, "frfw.evaluate", *arguments):
        assert of_a_group(names) == []
