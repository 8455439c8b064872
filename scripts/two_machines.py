"""Two machines, shown on one: two network namespaces joined by a cable that can be cut.

    sudo python scripts/two_machines.py --data data/synthetic --out two_machines

1. trains on "one machine" (two processes) and on two (one process each, `torchrun --nnodes=2`
   with a rendezvous address, one run folder on the storage that both see) and compares the losses
   of all steps and the final weights;
2. trains on two machines again, cuts the cable in the middle, notes when and how both ends leave,
   mends the cable, resumes, and compares again.

Prints a table in Markdown and writes `two_machines.json`. Needs Linux, iproute2 and root.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from frfw.training import checkpoint

MACHINES = {"frfw-a": ("fra", "10.77.0.1"), "frfw-b": ("frb", "10.77.0.2")}
PORT = 29577
STEPS = 120
SETTINGS = [
    "loss=curricular", "backbone.width=0.25", "backbone.embedding_dim=64", "data.size=32",
    "data.workers=1", "trainer.device=cpu", "trainer.threads=1", "trainer.global_batch_size=32",
    f"trainer.steps={STEPS}", "trainer.checkpoint_every=10", "trainer.log_every=1",
    "trainer.embeddings=false", "trainer.report=false", "evaluation=[]",
    "trainer.check_data=false", "trainer.timeout_s=30", "data.timeout=20", "resume=auto",
]  # fmt: skip


def ip(*words: str) -> None:
    """Run iproute2's `ip`."""
    subprocess.run(["ip", *words], check=True)


@contextmanager
def machines() -> Iterator[None]:
    """Make the namespaces and the cable between them; remove both afterwards."""
    (a, (cable_a, _)), (_, (cable_b, _)) = MACHINES.items()
    for name in MACHINES:
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)
        ip("netns", "add", name)
    try:
        ip("-n", a, "link", "add", cable_a, "type", "veth", "peer", "name", cable_b)
        ip("-n", a, "link", "set", cable_b, "netns", "frfw-b")
        for name, (cable, address) in MACHINES.items():
            ip("-n", name, "addr", "add", f"{address}/24", "dev", cable)
            ip("-n", name, "link", "set", cable, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in MACHINES:
            ip("netns", "del", name)


def cable(state: str) -> None:
    """Set the cable `up` or `down`, at machine a's end."""
    ip("-n", "frfw-a", "link", "set", MACHINES["frfw-a"][0], state)


def train(out: Path, data: Path, name: str) -> list[str]:
    """The words of the training command."""
    return [
        "-m",
        "frfw.train",
        *SETTINGS,
        f"data.path={data}",
        f"runs={out / 'runs'}",
        f"name={name}",
    ]


def torchrun(*words: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *words]


def start(machine: str, out: Path, data: Path, name: str) -> subprocess.Popen:
    """Start one machine's half of a run, as a user would type it there."""
    interface, address = MACHINES[machine]
    command = [
        "ip", "netns", "exec", machine, "env", f"GLOO_SOCKET_IFNAME={interface}",
        *torchrun(
            "--nnodes=2", "--nproc_per_node=1", "--rdzv-backend=static", f"--rdzv-id={name}",
            f"--rdzv-endpoint={MACHINES['frfw-a'][1]}:{PORT}", f"--local-addr={address}",
            f"--node-rank={list(MACHINES).index(machine)}", "--shutdown-timeout=8",
        ),
        *train(out, data, name),
    ]  # fmt: skip
    log = open(out / f"{name}.{machine}.log", "a")  # noqa: SIM115
    return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def both(out: Path, data: Path, name: str) -> list[subprocess.Popen]:
    return [start(machine, out, data, name) for machine in MACHINES]


def ends(processes: list[subprocess.Popen], seconds: float) -> list[tuple[int, float]]:
    """Exit code and seconds until the end, for each; what does not end is killed and said so."""
    started, found = time.monotonic(), {}
    while len(found) < len(processes):
        for number, process in enumerate(processes):
            if number not in found and process.poll() is not None:
                found[number] = (process.returncode, round(time.monotonic() - started, 1))
        if time.monotonic() - started > seconds:
            for process in processes:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            raise SystemExit(f"not ended within {seconds:.0f} s; see the logs")
        time.sleep(0.1)
    return [found[n] for n in range(len(processes))]


def losses(run: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {r["step"]: r["train/loss"] for r in rows if "train/loss" in r}


def compare(one: Path, other: Path) -> dict[str, object]:
    """How far two runs are apart."""
    a, b = losses(one), losses(other)
    x, y = (checkpoint.load(p / "checkpoints" / "last.pt") for p in (one, other))
    return {
        "steps": len(b),
        "largest_loss_difference": max(abs(a[s] - b[s]) for s in a),
        "weights_equal": all(
            torch.equal(x[part][k], y[part][k]) for part in ("backbone", "head") for k in x[part]
        ),
    }


def cut_and_mend(out: Path, data: Path) -> dict[str, object]:
    """Cut the cable in the middle of a run, then resume it."""
    run = out / "runs" / "cut"
    processes = both(out, data, "cut")
    while not (run / "checkpoints" / "step_30.pt").exists():
        if any(p.poll() is not None for p in processes):
            raise SystemExit("ended before the cable was cut; see the logs")
        time.sleep(0.05)
    cable("down")
    left = ends(processes, 180)
    step = checkpoint.newest(run / "checkpoints")[1]["counters"]["step"]
    cable("up")
    again = ends(both(out, data, "cut"), 600)
    return {"ends_after_cut": left, "checkpoint_at_step": step, "ends_after_resume": again}


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a RecordIO set")
    parser.add_argument("--out", type=Path, default=Path("two_machines"))
    options = parser.parse_args()
    out, data = options.out.resolve(), options.data.resolve()
    out.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    command = [*torchrun("--standalone", "--nproc_per_node=2"), *train(out, data, "one")]
    if not (out / "runs" / "one" / "result.json").exists():
        with open(out / "one.log", "w") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log)
    with machines():
        undisturbed = ends(both(out, data, "two"), 600)
        found = {
            "undisturbed": {"ends": undisturbed, **compare(out / "runs/one", out / "runs/two")}
        }
        found["cut"] = cut_and_mend(out, data)
        found["cut"] |= compare(out / "runs/one", out / "runs/cut")
    (out / "two_machines.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))
    good = all(f["weights_equal"] for f in found.values())
    sys.exit(0 if good and all(code for code, _ in found["cut"]["ends_after_cut"]) else 1)


if __name__ == "__main__":
    main()
