"""A campaign of faults on small runs: each must end as if nothing had happened.

    python scripts/faults.py --data data/synthetic --out faults --rounds 9

Each round runs the demo's training, made small, once for each fault, hits it at a random moment,
mends the fault, resumes to the end, and compares the final weights with an undisturbed run's, bit
for bit. Writes `faults.csv` and prints a table in Markdown; called again it goes on where it
stopped. Needs Linux (/proc), no root rights.

Runs of one process are forked from this one, which has imported PyTorch, for time's sake; runs of
two are started as a user does, and come in every third round only.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.utils.tensorboard  # for the processes that are forked

import frfw.train
import frfw.training.trainer
from frfw.training import checkpoint

STEPS, EVERY = 30, 3
SETTINGS = [
    "loss=curricular", "backbone.width=0.25", "backbone.embedding_dim=64", "data.size=32",
    "data.workers=1", "trainer.device=cpu", "trainer.threads=1", "trainer.check_data=false",
    "trainer.global_batch_size=32", f"trainer.steps={STEPS}", f"trainer.checkpoint_every={EVERY}",
    "trainer.log_every=5", "trainer.embeddings=false", "trainer.evaluate_every=1000",
    "evaluation=[]", "data.bad_limit=0", "trainer.keep_checkpoints=3",
    "trainer.report=false",
]  # fmt: skip


class Process:
    """A training process that leads a process group of its own."""

    def __init__(self, words: list[str], log: Path, fresh: bool, limit: int | None) -> None:
        sys.stdout.flush()
        with open(log, "a") as file:
            if fresh:
                command = [sys.executable, "-m", "frfw.train", *words]
                self._popen = subprocess.Popen(
                    command, stdout=file, stderr=file, start_new_session=True
                )
                self.pid = self._popen.pid
                return
            self._popen = None
            self._fork = multiprocessing.get_context("fork").Process(
                target=_train, args=(words, file.fileno(), limit)
            )
            self._fork.start()
            self.pid = self._fork.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._fork.exitcode if self._popen is None else self._popen.poll()

    def wait(self, seconds: float) -> int:
        """Wait for the end and return the exit code; an end that does not come is an error."""
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGKILL)
                raise SystemExit(f"process {self.pid} did not end within {seconds:.0f} s")
            time.sleep(0.02)
        return self.poll()


def _train(words: list[str], output: int, limit: int | None) -> None:
    """Be `python -m frfw.train WORDS` in a forked process."""
    os.setsid()
    for stream in (1, 2):
        os.dup2(output, stream)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv = ["frfw.train", *words]
    frfw.train.main()


@dataclass(frozen=True)
class Kind:
    """How a run is spread over processes."""

    processes: int = 1
    sharded: bool = False

    @property
    def reference(self) -> str:
        """Name of the undisturbed run of this kind."""
        return f"undisturbed{self.processes}{'_sharded' if self.sharded else ''}"


class Round:
    """One run that is hit by a fault and goes on."""

    def __init__(self, folder: Path, name: str, data: Path, kind: Kind, rng: random.Random):
        self.folder, self.name, self.kind, self.rng = folder, name, kind, rng
        self.data = data
        self.run = folder / "runs" / name

    def start(self, limit: int | None = None) -> Process:
        """Start or continue the run; `limit` is the largest file it may write, in bytes."""
        words = [
            *SETTINGS, f"data.path={self.data}", f"runs={self.folder / 'runs'}",
            f"name={self.name}", "resume=auto", f"trainer.devices={self.kind.processes}",
            f"classifier.parallel={'sharded' if self.kind.sharded else 'replicated'}",
        ]  # fmt: skip
        fresh = self.kind.processes > 1
        return Process(words, self.folder / f"{self.name}.log", fresh, limit)

    def random_moment(self, process: Process) -> None:
        """Wait for a random step, perhaps one before the first checkpoint, and a bit more."""
        self._wait_for(process, lambda: (self.run / "log.txt").exists())
        self._wait_for_step(process, self.rng.randrange(0, STEPS - 4 * EVERY))

    def wait_for_checkpoint(self, process: Process, step: int = EVERY) -> None:
        """Wait for a random step from `step` on, and a bit more."""
        self._wait_for_step(process, self.rng.randrange(step, STEPS - 4 * EVERY))

    def _wait_for_step(self, process: Process, step: int) -> None:
        folder = self.run / "checkpoints"
        wanted = step // EVERY * EVERY

        def reached() -> bool:
            return max(map(checkpoint.step_of, folder.glob("*.pt")), default=0) >= wanted

        self._wait_for(process, reached)
        time.sleep(self.rng.uniform(0, 0.3))

    def _wait_for(self, process: Process, condition: Callable[[], bool]) -> None:
        while not condition():
            if process.poll() is not None:
                raise SystemExit(f"{self.name} ended before it was hit; see its log")
            time.sleep(0.02)

    def finish(self) -> int:
        """Continue to the end; return how often the run had to be started."""
        for attempt in range(1, 4):
            process = self.start()
            code = process.wait(600)
            if code == 0:
                return attempt
        raise SystemExit(f"{self.name} could not be resumed; see {self.folder / self.name}.log")


def ended(process: Process) -> tuple[int, float]:
    """Wait for a process; return its exit code and the seconds it took to end."""
    started = time.monotonic()
    return process.wait(120), time.monotonic() - started


def sigkill(it: Round) -> tuple[int, float]:
    process = it.start()
    it.random_moment(process)
    os.killpg(process.pid, signal.SIGKILL)
    return ended(process)


def told(number: signal.Signals) -> Callable[[Round], tuple[int, float]]:
    """Make a fault of a signal to the command itself, the launcher where there is one."""

    def hit(it: Round) -> tuple[int, float]:
        process = it.start()
        it.random_moment(process)
        os.kill(process.pid, number)
        return ended(process)

    return hit


def disk_full(it: Round) -> tuple[int, float]:
    """Files may not grow beyond half a checkpoint: writes fail as on a full disk."""
    process = it.start()
    it.wait_for_checkpoint(process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
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
    os.kill(it.rng.choice(_children(process.pid)), signal.SIGKILL)
    return ended(process)


def stuck_rank(it: Round) -> tuple[int, float]:
    """Halt one worker process of two, so that the other waits in a collective."""
    process = it.start()
    it.wait_for_checkpoint(process)
    os.kill(it.rng.choice(_children(process.pid)), signal.SIGSTOP)
    return ended(process)


def killed_loader(it: Round) -> tuple[int, float]:
    """Kill a loader worker."""
    process = it.start()
    it.wait_for_checkpoint(process)
    for worker in _children(process.pid, b""):
        os.kill(worker, signal.SIGKILL)
    return ended(process)


def truncated_checkpoint(it: Round) -> tuple[int, float]:
    """Kill the run and cut its newest checkpoint in half; there is one before it."""
    process = it.start()
    it.wait_for_checkpoint(process, 2 * EVERY)
    os.killpg(process.pid, signal.SIGKILL)
    result = ended(process)
    newest = checkpoint.candidates(it.run / "checkpoints")[0]
    data = newest.read_bytes()
    newest.write_bytes(data[: len(data) // 2])
    return result


def _children(pid: int, having: bytes = b"spawn_main") -> list[int]:
    """Process numbers of the children of `pid` with `having` in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            command = (folder / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parent == pid and having in command:
            found.append(int(folder.name))
    return found


def truncated_shard(it: Round) -> tuple[int, float]:
    """Kill the run and cut a shard of its newest head in half."""
    process = it.start()
    it.wait_for_checkpoint(process, 2 * EVERY)
    os.killpg(process.pid, signal.SIGKILL)
    result = ended(process)
    folder = it.run / "checkpoints"
    newest = checkpoint.load(checkpoint.candidates(folder)[0])["head_shards"]
    shard = max((folder / newest).glob("*.distcp"), key=lambda p: p.stat().st_size)
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) // 2])
    return result


@dataclass(frozen=True)
class Fault:
    """What hits which runs, and in which rounds: each N-th."""

    hit: Callable[[Round], tuple[int, float]]
    kind: Kind = Kind()
    each: int = 1


_TWO, _SHARDED = Kind(2), Kind(2, sharded=True)
FAULTS: dict[str, Fault] = {
    "SIGKILL": Fault(sigkill),
    "SIGTERM": Fault(told(signal.SIGTERM)),
    "disk full": Fault(disk_full),
    "corrupt images": Fault(corrupt_image),
    "killed loader worker": Fault(killed_loader),
    "truncated checkpoint": Fault(truncated_checkpoint),
    "SIGUSR1, two ranks": Fault(told(signal.SIGUSR1), _TWO, 3),
    "killed rank": Fault(killed_rank, _TWO, 3),
    "halted rank": Fault(stuck_rank, _TWO, 3),
    "SIGKILL, sharded head": Fault(sigkill, _SHARDED, 3),
    "killed rank, sharded head": Fault(killed_rank, _SHARDED, 3),
    "truncated shard": Fault(truncated_shard, _SHARDED, 3),
}


def equal(a: Path, b: Path) -> bool:
    """Whether two runs ended with the same weights, to the last bit."""
    one, two = (checkpoint.load(p / "checkpoints" / "last.pt") for p in (a, b))
    if not one["counters"]["step"] == two["counters"]["step"] == STEPS:
        return False
    pairs = [(one[part], two[part]) for part in ("backbone", "head")]
    if one["head_shards"]:
        heads = [whole_head(p / "checkpoints" / c["head_shards"]) for p, c in ((a, one), (b, two))]
        pairs.append((heads[0], heads[1]))
    return all(torch.equal(x[key], y[key]) for x, y in pairs for key in x)


def whole_head(shards: Path) -> dict[str, torch.Tensor]:
    """The tensors of a sharded head and of its momentum."""
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        dcp_to_torch_save(shards, file.name)
        return torch.load(file.name, weights_only=True)


def main() -> None:
    """Run the campaign, or go on with it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("faults"))
    parser.add_argument("--data", type=Path, required=True, help="a RecordIO set")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=FAULTS, help="these faults, in every round")
    options = parser.parse_args()
    out, rng = options.out.resolve(), random.Random(options.seed)
    out.mkdir(parents=True, exist_ok=True)
    data = options.data.resolve()
    wanted = {FAULTS[name].kind for name in options.only or FAULTS}
    for kind in sorted(wanted, key=lambda kind: kind.reference):
        whole = Round(out, kind.reference, data, kind, rng)
        if not (whole.run / "result.json").exists():
            whole.finish()
    rows = read(out / "faults.csv")
    done = {(r["fault"], int(r["round"])) for r in rows}
    for number in range(options.rounds):
        for fault, about in FAULTS.items():
            due = fault in options.only if options.only else number % about.each == 0
            if due and (fault, number) not in done:
                rows.append(one(out, data, fault, number, options.seed))
                print(rows[-1], flush=True)
                write(rows, out / "faults.csv")
    print(table(rows))
    sys.exit(0 if all(str(r["equal"]) == "True" for r in rows) else 1)


def one(out: Path, data: Path, fault: str, number: int, seed: int) -> dict:
    """Hit one run with one fault, resume it to its end, and compare."""
    about = FAULTS[fault]
    name = f"{fault.replace(',', '').replace(' ', '_')}_{number}"
    shutil.rmtree(out / "runs" / name, ignore_errors=True)  # of a campaign that was cut off
    it = Round(out, name, data, about.kind, random.Random(f"{seed}/{name}"))
    code, seconds = about.hit(it)
    step = step_reached(it.run)
    it.data = data
    starts = it.finish()
    same = equal(out / "runs" / about.kind.reference, it.run)
    shutil.rmtree(out / f"{name}-data", ignore_errors=True)
    return {
        "fault": fault, "round": number, "exit_code": code, "seconds_to_end": round(seconds, 1),
        "checkpoint_at_step": step, "restarts": starts, "equal": same,
    }  # fmt: skip


def step_reached(run: Path) -> int:
    """The step of the newest whole checkpoint; 0 where there is none yet."""
    found = checkpoint.newest(run / "checkpoints") if (run / "checkpoints").is_dir() else None
    return found[1]["counters"]["step"] if found else 0


def read(path: Path) -> list[dict]:
    """Read back what `write` wrote."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write(rows: list[dict], path: Path) -> None:
    """Write the rows as CSV."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def table(rows: list[dict]) -> str:
    """Sum the rows up by fault, as Markdown."""
    lines = [
        "| fault | runs hit | exit codes | longest end, s | equal to undisturbed |",
        "|---|---|---|---|---|",
    ]
    for fault in FAULTS:
        # A run that had ended before the fault came shows nothing.
        mine = [r for r in rows if r["fault"] == fault and int(r["exit_code"]) != 0]
        if not mine:
            continue
        codes = ", ".join(sorted({str(r["exit_code"]) for r in mine}))
        longest = max((float(r["seconds_to_end"]) for r in mine), default=0)
        good = sum(str(r["equal"]) == "True" for r in mine)
        lines.append(f"| {fault} | {len(mine)} | {codes} | {longest} | {good} of {len(mine)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
