"""Measure the classifier against named baselines and print the tables of docs/benchmarks.md.

    python scripts/bench_classifier.py                      everything, about an hour on 2 cores
    python scripts/bench_classifier.py time memory          some of: time memory million growth
                                                            sharded precision plan device
    python scripts/bench_classifier.py device               on a GPU: heads of a million classes,
                                                            the most that fit, whole trainings
    --device D      of `device`: cuda or cpu (default: cuda where there is one)
    --classes N [N ...], --batches N [N ...], --size PIXELS, --rounds N
                    of `device`: 1000000, 1024 4096, 112, 15
    --minutes M     of `device`: after so many none of its measurements is begun (20); each is in
                    FILE as soon as it is made
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

import torch
from classifier_cases import spread
from classifier_device import show_device  # noqa: F401 (`show` looks it up by name)

HERE = Path(__file__).resolve().parent
REPEATS = 3  # processes that measure the same memory
LOSSES = ["curricular", "arcface", "cosface", "mv_arc", "adaface"]
MB = 1e6


class Bench:
    """Runs cases in fresh processes and collects their figures."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.out = options, options.out
        self.threads, self.clock = options.threads, options.clock
        out = options.out
        self.found: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {}

    def start(
        self, case: str, arguments: list[Any], threads: int, errors: int | None = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        environment |= {"OMP_NUM_THREADS": str(threads), "GLOO_SOCKET_IFNAME": "lo"}
        command = [sys.executable, "-W", "ignore", str(HERE / "classifier_cases.py")]
        command += [str(threads), case, json.dumps(arguments)]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )

    def finish(self, process: subprocess.Popen[str]) -> Any:
        text, errors = process.communicate()
        lines = [line for line in text.splitlines() if line.startswith("RESULT ")]
        if process.returncode or not lines:
            raise SystemExit(f"error: a measurement failed:\n{errors[-2000:]}")
        return json.loads(lines[-1][7:])

    def run(self, case: str, *arguments: Any) -> Any:
        return self.finish(self.start(case, list(arguments), self.threads))

    def follow(self, name: str, case: str, arguments: list[Any]) -> None:
        """Run a case that tells its figures as it gets them, and keep each at once."""
        process = self.start(case, arguments, self.threads, errors=None)
        told = False
        for line in process.stdout:
            if line.startswith("RESULT "):
                self.keep(name, json.loads(line[7:]))
                told = True
        if process.wait() or not told:
            raise SystemExit(f"error: {case} ended early; what it had measured is in {self.out}")

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
    cases = {
        "tiled, least": ("least", False),
        "tiled, least, compiled": ("least", True),
        "tiled, fastest": ("fastest", False),
        "tiled, fastest, compiled": ("fastest", True),
        "dense": ("dense", False),
    }
    figures: dict[str, list[Any]] = {name: [] for name in cases}
    for _ in range(REPEATS):
        for name, (kind, compiled) in cases.items():
            found = bench.run("memory", kind, "curricular", 100_000, 1024, False, compiled)
            figures[name].append(found)
    bench.keep("memory", figures)


def measure_million(bench: Bench) -> None:
    cases = {"gradient": ("least", False), "fused update": ("least", True), "dense": ("dense",)}
    figures: dict[str, list[Any]] = {name: [] for name in cases}
    for _ in range(REPEATS):
        for name, (kind, *fused) in cases.items():
            figures[name].append(bench.run("memory", kind, "curricular", 1_000_000, 128, *fused))
    bench.keep("million", figures)


def measure_growth(bench: Bench) -> None:
    sizes = [10_000, 30_000, 100_000, 300_000, 1_000_000]
    classes = {
        str(c): {
            **bench.run("growth", c, 128, 9 if c < 300_000 else 5, bench.clock),
            "memory": _memories(bench, c, 128),
        }
        for c in sizes
    }
    batches = {str(b): _memories(bench, 100_000, b) for b in (128, 512, 2048, 8192)}
    bench.keep("growth", {"classes": classes, "batches": batches})
    from classifier_plot import growth_plot

    growth_plot(classes, batches, HERE.parent / "docs" / "images" / "classifier_growth.png")


def _memories(bench: Bench, classes: int, batch: int) -> list[dict[str, int]]:
    return [bench.run("memory", "least", "curricular", classes, batch) for _ in range(REPEATS)]


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
    figures = {str(near): bench.run("precision", 10_000, 128, near) for near in (0.0, 0.6)}
    bench.keep("precision", figures)


def measure_plan(bench: Bench) -> None:
    from frfw.planning.head import head_bytes

    figures = {}
    for classes in (100_000, 1_000_000):
        for fused in (False, True):
            for rate in (1.0, 0.5, 0.1):
                drawn = None if rate == 1 else round(classes * rate) + 128
                predicted = head_bytes(
                    classes=classes, dim=512, batch=128, sampled=drawn, memory_budget=0, fused=fused
                )
                name = f"{classes:,} classes{'' if rate == 1 else f', {rate} of them sampled'}"
                figures[name + (", fused update" if fused else "")] = [
                    sum(predicted.values()),
                    [bench.run("plan", classes, 128, fused, rate)["bytes"] for _ in range(REPEATS)],
                ]
    bench.keep("plan", figures)


def measure_device(bench: Bench) -> None:
    o = bench.options
    arguments = [o.device, o.classes, o.batches, o.size, o.rounds, o.minutes]
    bench.follow("device", "device", arguments)


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


def beyond(memory: dict[str, int]) -> float:
    """MB beyond the weight and its gradient."""
    return (memory["extra"] - memory["weight"]) / MB


def ranged(values: list[float], digits: int) -> str:
    """The median, and the least and the largest."""
    low, high = min(values), max(values)
    return f"{spread(values)[0]:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def show_memory(figures: dict[str, Any]) -> None:
    print(f"| mode | MB beyond weight and gradient (of {REPEATS} processes) |\n|---|---|")
    for kind, values in figures.items():
        print(f"| {kind} | {ranged([beyond(v) for v in values], 0)} |")


def show_million(figures: dict[str, Any]) -> None:
    print(f"| | bytes / the weight's bytes (of {REPEATS} processes) |\n|---|---|")
    for kind, values in figures.items():
        found = [(v["extra"] + v["weight"]) / v["weight"] for v in values]
        print(f"| {kind} | {ranged(found, 3)} |")


def show_growth(figures: dict[str, Any]) -> None:
    print("| classes | ms a step | us a class | / bare products | MB beyond weight and gradient |")
    print("|---|---|---|---|---|")
    for classes, value in figures["classes"].items():
        middle, low, high = (1e3 * s for s in spread(value["step"]))
        bare = 1e3 * spread(value["bare products"])[0]
        print(
            f"| {int(classes):,} | {middle:.0f} ({low:.0f} to {high:.0f}) "
            f"| {1e3 * middle / int(classes):.2f} | {middle / bare:.2f} "
            f"| {ranged([beyond(v) for v in value['memory']], 1)} |"
        )
    print("\n| batch (100,000 classes) | MB beyond weight and gradient |\n|---|---|")
    for batch, values in figures["batches"].items():
        print(f"| {batch} | {ranged([beyond(v) for v in values], 1)} |")


def show_sharded(figures: dict[str, Any]) -> None:
    print(
        "| processes | centres each | s a step, elapsed | s a step, processor |\n|---|---|---|---|"
    )
    for world, ranks in figures.items():
        wall, cpu = (max(spread(r[k]) for r in ranks) for k in ("wall", "cpu"))
        cells = (f"{median:.2f} ({low:.2f} to {high:.2f})" for median, low, high in (wall, cpu))
        print(f"| {world} | {ranks[0]['rows']:,} | {' | '.join(cells)} |")


def show_precision(figures: dict[str, Any]) -> None:
    print("| own cosine | products | loss | gradient of embeddings | gradient of weight |")
    print("|---|---|---|---|---|")
    for near, precisions in figures.items():
        for name, errors in precisions.items():
            print(f"| {near} | {name} | " + " | ".join(f"{e:.1e}" for e in errors) + " |")


def show_plan(figures: dict[str, Any]) -> None:
    print("| head | predicted MB | measured MB | ratio |\n|---|---|---|---|")
    for name, (predicted, measured) in figures.items():
        ratio = predicted / spread(measured)[0]
        found = ranged([m / MB for m in measured], 0)
        print(f"| {name} | {predicted / MB:.0f} | {found} | {ratio:.3f} |")


PIECES = {
    "time": measure_time,
    "memory": measure_memory,
    "million": measure_million,
    "growth": measure_growth,
    "sharded": measure_sharded,
    "precision": measure_precision,
    "plan": measure_plan,
    "device": measure_device,
}


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pieces", nargs="*", metavar="PIECE", help=", ".join(PIECES))
    parser.add_argument("--out", type=Path, default=Path("runs/bench_classifier.json"))
    parser.add_argument("--threads", type=_positive, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    cuda = torch.cuda.is_available()
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if cuda else "cpu")
    parser.add_argument("--classes", type=_positive, nargs="+", default=[1_000_000])
    parser.add_argument("--batches", type=_positive, nargs="+", default=[1024, 4096])
    parser.add_argument("--size", type=_positive, default=112)
    parser.add_argument("--rounds", type=_positive, default=15)
    parser.add_argument("--minutes", type=float, default=20.0)
    options = parser.parse_args()
    if options.device == "cuda" and not cuda:
        raise SystemExit("error: --device cuda: there is no GPU here")
    unknown = set(options.pieces) - set(PIECES)
    if unknown:
        raise SystemExit(f"error: no piece {sorted(unknown)}: choose from {', '.join(PIECES)}")
    sys.path.insert(0, str(HERE.parent))
    bench = Bench(options)
    everything = [p for p in PIECES if p != "device" or options.device == "cuda"]
    for piece in options.pieces or everything:
        PIECES[piece](bench)
    show(bench.found)


if __name__ == "__main__":
    main()
