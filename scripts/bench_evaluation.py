"""Measure the evaluation: `python scripts/bench_evaluation.py [verification] [templates]`.

verification: 10-fold evaluation of 6,000 pairs of 512-d embeddings against the plain threshold
loop, which is the reference in tests/evaluation/test_verification.py.
templates: 15,658,489 template pairs (as many as IJB-C has) of 23,124 templates, from a file.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
PLAIN = Path(__file__).parents[1] / "tests" / "evaluation" / "test_verification.py"


def best_of(times: int, work: Callable[[], object], clock: str = "wall") -> float:
    """Return the shortest time in seconds of several runs."""
    spent, now = [], CLOCKS[clock]
    for _ in range(times):
        start = now()
        work()
        spent.append(now() - start)
    return min(spent)


def verification(clock: str, pairs: int = 6000, dim: int = 512, rounds: int = 9) -> None:
    """Time `verify`, all its figures included, and the loop, which has the accuracy alone.

    Both are timed in every round, so that a machine that is busy for a while slows both; the ratio
    is the median over the rounds.
    """
    from frfw.evaluation import verify

    spec = importlib.util.spec_from_file_location("plain", PLAIN)
    plain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    rng = np.random.default_rng(0)
    same = rng.random(pairs) < 0.5
    a = rng.standard_normal((pairs, dim), dtype=np.float32)
    b = rng.standard_normal((pairs, dim), dtype=np.float32)
    b[same] = a[same] + 1.2 * b[same]
    equal = np.array_equal(verify(a, b, same).fold_accuracies, plain.plain_loop(a, b, same)[0])
    ours, loop = np.empty((2, rounds))
    for number in range(rounds):
        ours[number] = best_of(15, lambda: verify(a, b, same), clock)
        loop[number] = best_of(3, lambda: plain.plain_loop(a, b, same), clock)
    ratio, spent = np.sort(loop / ours), 1e3 * np.median([ours, loop], axis=1)
    print(f"verification  {pairs} pairs x {dim}, {rounds} rounds, medians of {clock} time:")
    print(f"              verify {spent[0]:.1f} ms, loop {spent[1]:.0f} ms, folds equal: {equal},")
    print(f"              {np.median(ratio):.0f} times as fast ({ratio[0]:.0f}..{ratio[-1]:.0f})")
    best = 1e3 * ours.min(), 1e3 * loop.min()
    print(f"              shortest of all: verify {best[0]:.1f} ms, loop {best[1]:.0f} ms, "
          f"{best[1] / best[0]:.0f} times")  # fmt: skip


def templates(pairs: int, count: int = 23124, dim: int = 512) -> None:
    """Time `verify_templates` from a file of pairs, and report the process's peak memory."""
    from frfw.evaluation.template_checks import check_pairs
    from frfw.evaluation.templates import Templates, verify_templates

    rng = np.random.default_rng(0)
    features = rng.standard_normal((count, dim), dtype=np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    bank = Templates(np.arange(1, count + 1), features)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.txt"
        for start in range(0, pairs, 1 << 20):  # in pieces: the peak is to be the scoring's
            size = min(1 << 20, pairs - start)
            rows = rng.integers(1, count + 1, (size, 3), dtype=np.int32)
            rows[:, 2] = rng.random(size) < 0.00125
            pd.DataFrame(rows).to_csv(path, sep=" ", header=False, index=False, mode="a")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        checked = best_of(1, lambda: check_pairs(path, bank.ids, allow_duplicates=True))
        spent = best_of(1, lambda: verify_templates(bank, path))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"templates     {pairs:,} pairs of {count:,} x {dim}: {spent:.1f} s,")
    print(f"              reading them through beforehand {checked:.1f} s,")
    print(f"              peak memory {peak:.0f} MiB ({before:.0f} MiB before scoring)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["verification", "templates"])
    parser.add_argument("--template-pairs", type=int, default=15_658_489)
    parser.add_argument("--clock", choices=CLOCKS, default="wall",
                        help="of verification; cpu: processor time, on a busy machine")  # fmt: skip
    args = parser.parse_args()
    for what in args.what:
        if what not in ("verification", "templates"):
            sys.exit(f"error: there is no {what!r}; choose verification, templates")
        if what == "verification":
            verification(args.clock)
        else:
            templates(args.template_pairs)


if __name__ == "__main__":
    main()
