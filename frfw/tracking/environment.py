"""What a run ran on: versions, commit, device. No host or user names."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

_PACKAGES = (
    "torch", "torchvision", "timm", "numpy", "opencv-python-headless", "albumentations",
    "hydra-core", "omegaconf", "scikit-learn", "tensorboard", "matplotlib",
)  # fmt: skip


def environment(device: str | torch.device = "cpu", world: int = 1) -> dict[str, Any]:
    """Describe software and hardware as plain types.

    Returns a dict with `frfw`, `python`, `platform`, `packages`, `git` (commit and whether files
    were changed since; None outside a checkout), `cpu`, `device`, `world`, `command`, `started`.
    """
    return {
        "frfw": _version("frfw"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {
            **{name: v for name in _PACKAGES if (v := _version(name)) is not None},
            "torch": torch.__version__,  # with the build, such as +cu126, which metadata may lack
        },
        "git": git_state(Path(__file__).parent),
        "cpu": cpu(),
        "device": device_facts(torch.device(device)),
        "world": world,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def write_environment(
    run_dir: str | Path, device: str | torch.device = "cpu", world: int = 1, **more: Any
) -> dict[str, Any]:
    """Write `environment.json` into a run folder and return what it says.

    `more` are further plain facts, such as the fingerprint of the data. A resumed run keeps what
    the earlier processes wrote under `earlier`, oldest first.
    """
    path = Path(run_dir) / "environment.json"
    facts = {**environment(device, world), **more}
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            before = None  # half-written by a killed run; nothing to keep
        if isinstance(before, dict):
            earlier = before.pop("earlier", [])
            facts["earlier"] = [*earlier, before]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts, indent=2, default=str) + "\n", encoding="utf-8")
    return facts


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return the commit that `folder` is checked out at, or None where it is no checkout."""
    tracked = _git(folder, "ls-files", "--error-unmatch", str(folder / "__init__.py"))
    commit = _git(folder, "rev-parse", "HEAD") if tracked else None
    if not commit:  # an installed wheel may lie inside somebody else's checkout
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": bool(changed)}


def cpu() -> dict[str, Any]:
    """Return the processor's name, the cores this process may use, and the memory in GiB."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts: dict[str, Any] = {"name": platform.processor() or platform.machine(), "cores": cores}
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines()
                 if line.startswith("model name")]  # fmt: skip
        facts["name"] = names[0] if names else facts["name"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        facts["memory_gib"] = round(total / 2**30, 1)
    facts["torch_threads"] = torch.get_num_threads()
    return facts


def device_facts(device: torch.device) -> dict[str, Any]:
    """Return name, memory and library versions of the device that trains."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return {"type": device.type}
    properties = torch.cuda.get_device_properties(device)
    return {
        "type": "cuda",
        "name": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "visible": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        if package == "frfw":
            import frfw

            return frfw.__version__
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
