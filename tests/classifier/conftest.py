"""Start several gloo processes of a worker script."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def processes():
    """`processes(script, world, *arguments)` runs RANK WORLD PORT arguments; their outputs."""

    def start(script: str, world: int, *arguments: str) -> list[str]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        environment["PYTHONPATH"] = os.pathsep.join([str(HERE.parents[1]), *sys.path])
        workers = [
            subprocess.Popen(
                [sys.executable, "-W", "ignore", str(HERE / script)]
                + [str(rank), str(world), str(port), *arguments],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(world)
        ]
        try:
            outputs = [worker.communicate(timeout=240) for worker in workers]
        finally:
            for worker in workers:
                worker.kill()
        for worker, (_, errors) in zip(workers, outputs):
            assert worker.returncode == 0, errors[-3000:]
        return [text for text, _ in outputs]

    return start
