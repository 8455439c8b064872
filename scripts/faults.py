"""A campaign of faults on small runs: each must end as if nothing had happened.

    python scripts/faults.py --data data/synthetic --out faults --rounds 9

Each round runs the demo's training, made small, once for each fault, hits it at a random moment,
mends the fault, resumes to the end, and compares the final weights with an undisturbed run's, bit
for bit. Writes `faults.csv` and prints a table in Markdown. Needs no root rights.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from frfw.training import checkpoint

STEPS, EVERY = 40, 4
SETTINGS = [
    "loss=curricular", "backbone.width=0.25", "backbone.embedding_dim=64", "data.size=32",
    "data.workers=1", "trainer.device=cpu", "trainer.threads=1", "trainer.global_batch_size=32",
    f"trainer.steps={STEPS}", f"trainer.checkpoint_every={EVERY}", "trainer.log_every=5",
    "trainer.embeddings=false", "trainer.evaluate_every=1000", "evaluation=[lfw]",
    "data.bad_limit=0", "trainer.keep_checkpoints=3",
]  # fmt: skip


class Round:
    """One run that is hit by a fault and goes on."""

    def __init__(self, folder: Path, name: str, data: Path, processes: int, rng: random.Random):
        self.folder, self.name, self.processes, self.rng = folder, name, processes, rng
        self.data = data
        self.run = folder / "runs" / name

    def start(self, limit: int | None = None) -> subprocess.Popen:
        """Start or continue the run; `limit` is the largest file it may write, in bytes."""

        def restrict() -> None:
            os.setsid()
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        command = [
            sys.executable, "-m", "frfw.train", *SETTINGS, f"data.path={self.data}",
            f"runs={self.folder / 'runs'}", f"name={self.name}", "resume=auto",
            f"trainer.devices={self.processes}",
        ]  # fmt: skip
        log = open(self.folder / f"{self.name}.log", "a")  # noqa: SIM115
        return subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=restrict)

    def wait_for_checkpoint(self, process: subprocess.Popen) -> None:
        """Wait for the first checkpoint, then for a random while."""
        while not (self.run / "checkpoints" / "last.pt").exists():
            if process.poll() is not None:
                raise SystemExit(f"{self.name} ended before its first checkpoint; see its log")
            time.sleep(0.05)
        time.sleep(self.rng.uniform(0, 2.0))

    def finish(self) -> int:
        """Continue to the end; return how often the run had to be started."""
        for attempt in range(1, 4):
            process = self.start()
            code = process.wait(timeout=600)
            if code == 0:
                return attempt
        raise SystemExit(f"{self.name} could not be resumed; see {self.folder / self.name}.log")


def ended(process: subprocess.Popen) -> tuple[int, float]:
    """Wait for a process; return its exit code and the seconds it took to end."""
    started = time.monotonic()
    return process.wait(timeout=120), time.monotonic() - started


def sigkill(it: Round) -> tuple[int, float]:
    process = it.start()
    it.wait_for_checkpoint(process)
    os.killpg(process.pid, signal.SIGKILL)
    return ended(process)


def sigterm(it: Round) -> tuple[int, float]:
    process = it.start()
    it.wait_for_checkpoint(process)
    process.send_signal(signal.SIGTERM)
    return ended(process)


def disk_full(it: Round) -> tuple[int, float]:
    """Files may not grow beyond half a checkpoint: writes fail as on a full disk."""
    process = it.start()
    it.wait_for_checkpoint(process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    size = (it.run / "checkpoints" / "last.pt").stat().st_size
    return ended(it.start(limit=size // 2))


def corrupt_image(it: Round) -> tuple[int, float]:
    """Overwrite images of the training set while the run reads it; mend it afterwards."""
    whole = it.data
    it.data = it.folder / f"{it.name}-data"
    shutil.copytree(whole, it.data)
    process = it.start()
    it.wait_for_checkpoint(process)
    record = it.data / "train.rec"
    content = record.read_bytes()
    with open(record, "r+b") as file:
        for start in range(4096, len(content) - 64, 4096):
            file.seek(start)
            file.write(b"\0" * 48)
    result = ended(process)
    record.write_bytes(content)
    return result


def killed_rank(it: Round) -> tuple[int, float]:
    """Kill one worker process of two."""
    process = it.start()
    it.wait_for_checkpoint(process)
    workers = _descendants(process.pid)
    os.kill(it.rng.choice(workers), signal.SIGKILL)
    return ended(process)


def truncated_checkpoint(it: Round) -> tuple[int, float]:
    """Kill the run and cut its newest checkpoint in half."""
    result = sigkill(it)
    newest = checkpoint.candidates(it.run / "checkpoints")[0]
    data = newest.read_bytes()
    newest.write_bytes(data[: len(data) // 2])
    return result


def _descendants(pid: int) -> list[int]:
    """Process numbers of the trainers that a launcher has started (Linux)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            command = (folder / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parent == pid and b"spawn_main" in command:
            found.append(int(folder.name))
    return found


FAULTS: dict[str, tuple[Callable[[Round], tuple[int, float]], int]] = {
    "SIGKILL": (sigkill, 1),
    "SIGTERM": (sigterm, 1),
    "disk full": (disk_full, 1),
    "corrupt images": (corrupt_image, 1),
    "killed rank": (killed_rank, 2),
    "truncated checkpoint": (truncated_checkpoint, 1),
}


def equal(a: Path, b: Path) -> bool:
    """Whether two runs ended with the same weights, to the last bit."""
    one, two = (checkpoint.load(p / "checkpoints" / "last.pt") for p in (a, b))
    return one["counters"]["step"] == two["counters"]["step"] == STEPS and all(
        torch.equal(one[part][k], two[part][k]) for part in ("backbone", "head") for k in one[part]
    )


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("faults"))
    parser.add_argument("--data", type=Path, required=True, help="a RecordIO set with lfw.bin")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    out, rng = options.out.resolve(), random.Random(options.seed)
    out.mkdir(parents=True, exist_ok=True)
    data = options.data.resolve()
    for processes in (1, 2):
        Round(out, f"undisturbed{processes}", data, processes, rng).finish()
    rows = []
    for number in range(options.rounds):
        for fault, (hit, processes) in FAULTS.items():
            name = f"{fault.replace(' ', '_')}_{number}"
            it = Round(out, name, data, processes, rng)
            code, seconds = hit(it)
            it.data = data
            starts = it.finish()
            same = equal(out / "runs" / f"undisturbed{processes}", it.run)
            rows.append(
                {"fault": fault, "round": number, "exit_code": code,
                 "seconds_to_end": round(seconds, 1), "restarts": starts, "equal": same}
            )  # fmt: skip
            print(rows[-1], flush=True)
            write(rows, out / "faults.csv")
    print(table(rows))
    sys.exit(0 if all(r["equal"] for r in rows) else 1)


def write(rows: list[dict], path: Path) -> None:
    """Write the rows as CSV."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def table(rows: list[dict]) -> str:
    """Sum the rows up by fault, as Markdown."""
    lines = [
        "| fault | runs | exit codes | longest end, s | equal to undisturbed |",
        "|---|---|---|---|---|",
    ]
    for fault in FAULTS:
        mine = [r for r in rows if r["fault"] == fault]
        codes = ", ".join(sorted({str(r["exit_code"]) for r in mine}))
        longest = max((r["seconds_to_end"] for r in mine), default=0)
        good = sum(r["equal"] for r in mine)
        lines.append(f"| {fault} | {len(mine)} | {codes} | {longest} | {good} of {len(mine)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
