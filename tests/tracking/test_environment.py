"""The environment file says what ran, and names no host."""

from __future__ import annotations

import json
import platform
import subprocess

import torch

from frfw.tracking.environment import environment, git_state, write_environment


def test_facts_without_names_of_host_or_user():
    facts = environment()
    assert facts["packages"]["torch"] == torch.__version__
    assert facts["device"] == {"type": "cpu"}
    assert facts["cpu"]["cores"] >= 1
    others = {k: v for k, v in facts.items() if k != "command"}
    assert platform.node() not in json.dumps(others)


def test_resumed_run_keeps_what_ran_before(tmp_path):
    first = write_environment(tmp_path, data_fingerprint="abc")
    write_environment(tmp_path, world=2)
    facts = write_environment(tmp_path, world=3)
    assert json.loads((tmp_path / "environment.json").read_text()) == facts
    assert facts["earlier"][0] == first
    assert [e["world"] for e in facts["earlier"]] == [1, 2]


def test_git_state(tmp_path):
    def git(*arguments):
        name = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", "-C", str(tmp_path), *name, *arguments], check=True)

    (tmp_path / "__init__.py").write_text("")
    assert git_state(tmp_path) is None
    git("init", "-q")
    assert git_state(tmp_path) is None  # not one of the checkout's files
    git("add", "__init__.py")
    git("commit", "-q", "-m", "one")
    state = git_state(tmp_path)
    assert len(state["commit"]) == 40
    assert state["changed"] is False
    (tmp_path / "__init__.py").write_text("x = 1")
    assert git_state(tmp_path)["changed"] is True
