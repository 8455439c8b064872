"""A soak: does a run's memory stay flat over thousands of steps?

    python scripts/soak.py --data data/synthetic --out soak --steps 3000

Trains a small network with loader workers, evaluations and checkpoints all along, and samples
resident memory and open files of the trainer and of its loader workers every 50 steps from
/proc. Writes `soak.csv` and `soak.png`, and prints a table in Markdown. Linux only.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

SETTINGS = [
    "loss=curricular", "backbone.width=0.25", "backbone.embedding_dim=64", "data.size=32",
    "data.workers=1", "trainer.device=cpu", "trainer.threads=1", "trainer.global_batch_size=32",
    "trainer.checkpoint_every=100", "trainer.log_every=10", "trainer.evaluate_every=250",
    "evaluation=[lfw]", "trainer.check_data=false", "trainer.ema=0.999",
]  # fmt: skip
EVERY = 50
COLUMNS = ["step", "seconds", "rss_mb", "open_files", "threads", "workers_rss_mb", "workers"]


def children(pid: int) -> list[int]:
    """Process numbers of the children of `pid`."""
    words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(word) for word in words]


def own_memory(pid: int) -> float:
    """Memory of a process in MB: its own pages and its share of those that it has in common."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1000
    raise SystemExit("no Pss in smaps_rollup")


def resident(pid: int) -> float:
    """Resident memory in MB, pages of files included."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def sample(pid: int, step: int, started: float) -> dict[str, float]:
    """One row of the table."""
    workers = children(pid)
    return {
        "step": step,
        "seconds": round(time.monotonic() - started, 1),
        "rss_mb": round(resident(pid), 1),
        "open_files": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": len(os.listdir(f"/proc/{pid}/task")),
        "workers_rss_mb": round(sum(own_memory(w) for w in workers), 1),
        "workers": len(workers),
    }


def watch(process: subprocess.Popen, metrics: Path, steps: int) -> list[dict[str, float]]:
    """Sample each time that the run has logged another EVERY steps."""
    rows, wanted, started = [], EVERY, time.monotonic()
    while process.poll() is None and wanted <= steps:
        if last_step(metrics) >= wanted:
            try:
                rows.append(sample(process.pid, last_step(metrics), started))
            except (OSError, ValueError):  # the run is ending
                break
            wanted = rows[-1]["step"] // EVERY * EVERY + EVERY
        time.sleep(0.1)
    return rows


def last_step(metrics: Path) -> int:
    """The step of the last whole line."""
    if not metrics.exists():
        return 0
    with open(metrics, "rb") as file:
        file.seek(max(0, metrics.stat().st_size - 8192))
        lines = file.read().split(b"\n")[:-1]
    try:
        return int(json.loads(lines[-1])["step"]) if lines else 0
    except ValueError:
        return 0


def table(rows: list[dict[str, float]], lines: int = 10) -> str:
    """Some of the rows as Markdown, evenly spread."""
    chosen = [rows[round(i * (len(rows) - 1) / (lines - 1))] for i in range(lines)]
    text = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join(text + ["| " + " | ".join(str(r[c]) for c in COLUMNS) + " |" for r in chosen])


def plot(rows: list[dict[str, float]], path: Path) -> None:
    """Memory and open files over steps."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6, 4), sharex=True)
    steps = [r["step"] for r in rows]
    top.plot(steps, [r["rss_mb"] for r in rows], label="trainer, resident")
    top.plot(steps, [r["workers_rss_mb"] for r in rows], label="loader workers, their share")
    top.set_ylabel("MB")
    top.set_ylim(0)
    top.legend(fontsize=8)
    bottom.plot(steps, [r["open_files"] for r in rows], color="tab:green")
    bottom.set_ylabel("open files")
    bottom.set_ylim(0)
    bottom.set_xlabel("step")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def growth(rows: list[dict[str, float]], key: str) -> float:
    """Mean of the last quarter minus mean of the second."""
    quarter = len(rows) // 4
    second, last = rows[quarter : 2 * quarter], rows[-quarter:]
    return sum(r[key] for r in last) / len(last) - sum(r[key] for r in second) / len(second)


def main() -> None:
    """Run the soak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a RecordIO set with lfw.bin")
    parser.add_argument("--out", type=Path, default=Path("soak"))
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True)
    command = [
        sys.executable, "-m", "frfw.train", *SETTINGS, f"data.path={options.data.resolve()}",
        f"runs={out / 'runs'}", "name=soak", f"trainer.steps={options.steps}",
    ]  # fmt: skip
    with open(out / "soak.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        rows = watch(process, out / "runs" / "soak" / "metrics.jsonl", options.steps)
        code = process.wait()
    with open(out / "soak.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    plot(rows, out / "soak.png")
    print(table(rows))
    print(
        f"from the second quarter of the run to the last: resident memory "
        f"{growth(rows, 'rss_mb'):+.1f} MB, loader workers "
        f"{growth(rows, 'workers_rss_mb'):+.1f} MB, open files {growth(rows, 'open_files'):+.1f}"
    )
    sys.exit(code)


if __name__ == "__main__":
    main()
