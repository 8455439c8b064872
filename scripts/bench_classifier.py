"""Measure the classifier against named baselines and print the tables of docs/benchmarks.md.

    python scripts/bench_classifier.py                      everything, about an hour on 2 cores
    python scripts/bench_classifier.py time memory          some of: time memory million growth
                                                            sharded precision plan
    --out FILE      figures as JSON; what is in it already and not asked for is kept
    --threads N     torch threads (default: 2)
    --clock cpu     seconds of processor time instead of elapsed time. With --threads 1 this is
                    what to use on a machine that others use at the same time.

Every measurement is a process of its own; times are medians with quartiles of rounds in which
the cases take turns; memory is Linux's high-water mark of one step.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from classifier_cases import spread

HERE = Path(__file__).resolve().parent
LOSSES = ["curricular", "arcface", "cosface", "mv_arc", "adaface"]
MB = 1e6


class Bench:
    """Runs cases in fresh processes and collects their figures."""

    def __init__(self, out: Path, threads: int, clock: str) -> None:
        self.out, self.threads, self.clock = out, threads, clock
        self.found: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {}

    def start(self, case: str, arguments: list[Any], threads: int) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        environment |= {"OMP_NUM_THREADS": str(threads), "GLOO_SOCKET_IFNAME": "lo"}
        command = [sys.executable, "-W", "ignore", str(HERE / "classifier_cases.py")]
        command += [str(threads), case, json.dumps(arguments)]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def finish(self, process: subprocess.Popen[str]) -> Any:
        text, errors = process.communicate()
        lines = [line for line in text.splitlines() if line.startswith("RESULT ")]
        if process.returncode or not lines:
            raise SystemExit(f"error: a measurement failed:\n{errors[-2000:]}")
        return json.loads(lines[-1][7:])

    def run(self, case: str, *arguments: Any) -> Any:
        return self.finish(self.start(case, list(arguments), self.threads))

    def keep(self, name: str, figures: Any) -> None:
        self.found[name] = {"figures": figures, "threads": self.threads, "clock": self.clock}
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(self.found, indent=1))


def measure_time(bench: Bench) -> None:
    figures = {}
    for classes, rounds in ((10_000, 31), (100_000, 7)):
        figures[str(classes)] = bench.run("time", classes, 128, LOSSES, rounds, bench.clock, True)
        bench.keep("time", figures)  # at once: the next size takes minutes


def measure_memory(bench: Bench) -> None:
    kinds = ("least", "fastest", "dense")
    bench.keep("memory", {k: bench.run("memory", k, "curricular", 100_000, 1024) for k in kinds})


def measure_million(bench: Bench) -> None:
    figures = {
        name: bench.run("memory", "least", "curricular", 1_000_000, 128, fused)
        for name, fused in (("gradient", False), ("fused update", True))
    }
    bench.keep("million", figures)


def measure_growth(bench: Bench) -> None:
    sizes = [10_000, 30_000, 100_000, 300_000, 1_000_000]
    classes = {
        str(c): bench.run("growth", c, 128, 3 if c < 300_000 else 1, bench.clock) for c in sizes
    }
    batches = {
        str(b): bench.run("memory", "least", "curricular", 30_000, b)
        for b in (128, 512, 2048, 8192)
    }
    bench.keep("growth", {"classes": classes, "batches": batches})
    from classifier_plot import growth_plot

    growth_plot(classes, batches, HERE.parent / "docs" / "images" / "classifier_growth.png")


def measure_sharded(bench: Bench) -> None:
    figures = {}
    for world in (1, 2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        workers = [
            bench.start("sharded", [rank, world, port, 200_000, 128, 9], 1) for rank in range(world)
        ]
        figures[str(world)] = [bench.finish(worker) for worker in workers]
    bench.keep("sharded", figures)


def measure_precision(bench: Bench) -> None:
    bench.keep("precision", bench.run("precision", 10_000, 128))


def measure_plan(bench: Bench) -> None:
    from frfw.planning.head import head_bytes

    figures = {}
    for classes in (100_000, 1_000_000):
        for fused in (False, True):
            found = bench.run("memory", "least", "curricular", classes, 128, fused)
            predicted = head_bytes(
                classes=classes, dim=512, batch=128, memory_budget=0, fused=fused, momentum=False
            )
            measured = found["weight"] + found["extra"]
            figures[f"{classes} {'fused' if fused else 'gradient'}"] = [
                sum(predicted.values()),
                measured,
            ]
    bench.keep("plan", figures)


def show(found: dict[str, Any]) -> None:
    """Print what has been measured, as the tables of docs/benchmarks.md."""
    for name, entry in found.items():
        print(f"\n## {name} ({entry['threads']} threads, {entry['clock']} clock)\n")
        globals()[f"show_{name}"](entry["figures"])


def show_time(figures: dict[str, Any]) -> None:
    for classes, cases in figures.items():
        print(f"{int(classes):,} classes, batch 128, 512-d, float32\n")
        print("| | ms a step (quartiles) | / dense NormFace | / bare products |\n|---|---|---|---|")
        base = {k: spread(cases[k])[0] for k in ("dense NormFace", "bare products")}
        for name, values in cases.items():
            middle, low, high = (1e3 * v for v in spread(values))
            ratios = [middle / 1e3 / base[k] for k in ("dense NormFace", "bare products")]
            print(
                f"| {name} | {middle:.1f} ({low:.1f} to {high:.1f}) | {ratios[0]:.2f} "
                f"| {ratios[1]:.2f} |"
            )
        print()


def show_memory(figures: dict[str, Any]) -> None:
    print("| mode | MB beyond weight and gradient |\n|---|---|")
    for kind, value in figures.items():
        print(f"| {kind} | {(value['extra'] - value['weight']) / MB:.0f} |")


def show_million(figures: dict[str, Any]) -> None:
    print("| | bytes / the weight's bytes |\n|---|---|")
    for kind, value in figures.items():
        print(f"| {kind} | {(value['extra'] + value['weight']) / value['weight']:.3f} |")


def show_growth(figures: dict[str, Any]) -> None:
    print("| classes | s a step | us a class | MB beyond weight and gradient |\n|---|---|---|---|")
    for classes, value in figures["classes"].items():
        seconds = spread(value["seconds"])[0]
        extra = (value["extra"] - value["weight"]) / MB
        print(
            f"| {int(classes):,} | {seconds:.3f} | {1e6 * seconds / int(classes):.2f} "
            f"| {extra:.1f} |"
        )
    print("\n| batch (30,000 classes) | MB beyond weight and gradient |\n|---|---|")
    for batch, value in figures["batches"].items():
        print(f"| {batch} | {(value['extra'] - value['weight']) / MB:.1f} |")


def show_sharded(figures: dict[str, Any]) -> None:
    print(
        "| processes | centres each | s a step, elapsed | s a step, processor |\n|---|---|---|---|"
    )
    for world, ranks in figures.items():
        wall, cpu = (max(spread(r[k])[0] for r in ranks) for k in ("wall", "cpu"))
        print(f"| {world} | {ranks[0]['rows']:,} | {wall:.2f} | {cpu:.2f} |")


def show_precision(figures: dict[str, Any]) -> None:
    print("| products | loss | gradient of embeddings | gradient of weight |\n|---|---|---|---|")
    for name, errors in figures.items():
        print(f"| {name} | " + " | ".join(f"{e:.1e}" for e in errors) + " |")


def show_plan(figures: dict[str, Any]) -> None:
    print("| head | predicted MB | measured MB | ratio |\n|---|---|---|---|")
    for name, (predicted, measured) in figures.items():
        ratio = predicted / measured
        print(f"| {name} | {predicted / MB:.0f} | {measured / MB:.0f} | {ratio:.3f} |")


PIECES = {
    "time": measure_time,
    "memory": measure_memory,
    "million": measure_million,
    "growth": measure_growth,
    "sharded": measure_sharded,
    "precision": measure_precision,
    "plan": measure_plan,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pieces", nargs="*", metavar="PIECE", help=", ".join(PIECES))
    parser.add_argument("--out", type=Path, default=Path("runs/bench_classifier.json"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    options = parser.parse_args()
    unknown = set(options.pieces) - set(PIECES)
    if unknown:
        raise SystemExit(f"error: no piece {sorted(unknown)}: choose from {', '.join(PIECES)}")
    sys.path.insert(0, str(HERE.parent))
    bench = Bench(options.out, options.threads, options.clock)
    for piece in options.pieces or PIECES:
        PIECES[piece](bench)
    show(bench.found)


if __name__ == "__main__":
    main()
