"""Modules of torch that are imported after the group was made do not keep it."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads are read from /proc")

_START = """
    import contextlib, gc, os, sys
    import torch.distributed as dist

    def gloo():
        found = 0
        for task in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError):  # a thread may end just now
                found += "gloo" in open(f"/proc/self/task/{task}/comm").read()
        return found

    dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=0, world_size=1)
    while not gloo():  # they get their names a little later
        pass
"""
_END = """
    dist.destroy_process_group()
    gc.collect()
    print(gloo())
"""


def threads_left(folder, code: str) -> int:
    script = textwrap.dedent(_START) + textwrap.dedent(code) + textwrap.dedent(_END)
    arguments = [sys.executable, "-W", "ignore", "-c", script, str(folder / "store")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_classifier_made_after_the_group(tmp_path):
    code = """
        import torch, frfw
        head = frfw.create_classifier("curricular", 8, 31, "tiled", parallel="sharded")
        head(torch.randn(5, 8), torch.arange(5)).loss.backward()
        del head
        import torch._dynamo
    """
    assert threads_left(tmp_path, code) == 0


@pytest.mark.parametrize("name", ["FUNCTIONAL", "SHARED_SCALER"])
def test_import_unbound(tmp_path, name):
    code = f"""
        from frfw import default_group
        module = default_group.import_unbound(default_group.{name})
        assert module.__name__ == default_group.{name}
    """
    assert threads_left(tmp_path, code) == 0


def test_torch_alone_keeps_it(tmp_path):
    """Why frfw.default_group exists: once this fails, torch has mended it, and it can go."""
    assert threads_left(tmp_path, "import torch.distributed.nn.functional") > 0
