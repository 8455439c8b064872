"""Where the tools write to: never into their source, one run at a time, and said when impossible."""

from __future__ import annotations

import subprocess
import sys

import pytest

from frfw.data import open_source
from frfw.data.output import LOCK, only_writer
from frfw.data.pack import pack
from frfw.errors import FrfwError

FILES = ("train.rec", "train.idx", "property", "manifest.json")

# Packs argv[1] into argv[2]; after two images it says so and waits for a line.
HALTING = """
import sys
from frfw.data import open_source
from frfw.data.pack import pack

def halt(done):
    if done == 2:
        print("halted", flush=True)
        sys.stdin.readline()

pack(open_source(sys.argv[1]), sys.argv[2], progress=halt)
"""


@pytest.fixture
def halted():
    """Start a pack in another process that stands still after two images: halted(source, out)."""
    started = []

    def start(source, out):
        line = [sys.executable, "-c", HALTING, str(source), str(out)]
        process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "halted\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_pack_of_one_folder_is_refused(make_folder, tmp_path, halted):
    source, out = make_folder([3, 2]), tmp_path / "out"
    pack(open_source(source), tmp_path / "alone")
    first = halted(source, out)
    line = [sys.executable, "-m", "frfw.data", "pack", str(source), str(out)]
    second = subprocess.run(line, capture_output=True, text=True)
    assert second.returncode == 1
    assert f"error: another pack is writing to {out}" in second.stderr
    first.communicate("go on\n")
    assert first.returncode == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    for name in FILES:
        assert (out / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_a_killed_run_holds_nothing(make_folder, tmp_path, halted):
    source, out = make_folder([3, 2]), tmp_path / "out"
    first = halted(source, out)
    first.kill()
    first.communicate()
    assert (out / LOCK).is_file()
    assert pack(open_source(source), out).images == 5
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)


def test_the_lock_is_free_again_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), only_writer(tmp_path / "out", "pack"):
        second = only_writer(tmp_path / "out", "align")
        with pytest.raises(FrfwError, match="another align is writing to"), second:
            pass
        raise RuntimeError
    with only_writer(tmp_path / "out", "pack"):
        pass
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("inner", ["", "packed", "id000/packed"])
def test_a_set_is_not_packed_into_its_own_folder(make_folder, tmp_path, command, inner):
    """It would hide the images that come into the folder later."""
    root, other = make_folder([2, 2]), make_folder([2], name="other")
    for line in ([root], [other, root], ["--exclude=id001", root]):
        done = command("pack", *line, root / inner)
        assert done.returncode == 1
        assert "is the source" in done.stderr
        assert "give a folder outside of it" in done.stderr
    assert {path.name for path in root.iterdir()} == {"id000", "id001"}


def test_a_file_in_the_way_is_named(make_folder, tmp_path, command):
    (tmp_path / "file").write_bytes(b"x")
    for out in ("file", "file/x", "file/x/y"):
        done = command("pack", make_folder([2], name=out.replace("/", "-") + "-in"), tmp_path / out)
        assert done.returncode == 1
        assert done.stderr.endswith(
            f"error: {tmp_path / 'file'} is not a folder: give another place to write to\n"
        )
