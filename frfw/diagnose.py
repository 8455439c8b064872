"""`python -m frfw.diagnose RUN`: what a run's numbers say about what is wrong with it."""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from pathlib import Path

from frfw.command import run
from frfw.diagnosis import Evidence, Finding, diagnose
from frfw.errors import FrfwError
from frfw.tracking.runs import Run, load_run


def main() -> None:
    """Print the findings for the run folders given."""
    parser = argparse.ArgumentParser(
        prog="python -m frfw.diagnose",
        description="Read a run folder and name the known signatures that it matches: what each "
        "means and what to try.",
    )
    parser.add_argument("run", nargs="+", help="a run folder, such as runs/NAME")
    parser.add_argument("--classes", type=int, help="identities, where the folder does not say")
    parser.add_argument("--json", action="store_true", help="one JSON object a run")
    arguments = parser.parse_args()
    for folder in arguments.run:
        evidence = read_evidence(folder, arguments.classes)
        findings = diagnose(evidence)
        if arguments.json:
            print(json.dumps({"run": folder, "findings": [f.to_dict() for f in findings]}))
        else:
            print(text(folder, evidence, findings))


def read_evidence(folder: str | Path, classes: int | None = None) -> Evidence:
    """Read a run folder's numbers.

    Raises:
        FrfwError: no run folder, or a run that has logged nothing yet.
    """
    found = load_run(folder)
    if "train/loss" not in found.curves:
        raise FrfwError(
            f"{folder}/metrics.jsonl has no training step yet: the run stopped before its first "
            f"logged step; the reason is in {folder}/log.txt"
        )
    return Evidence(
        found.curves,
        found.config,
        classes=classes or logged_number(found, r"images of (\d+) identities"),
        planned=logged_number(found, r"accumulated; (\d+) steps"),
        result=found.result,
    )


def logged_number(found: Run, pattern: str) -> int | None:
    """Return the number that `pattern` last finds in the run's log, or None."""
    log = found.folder / "log.txt"
    if not log.is_file():
        return None
    numbers = re.findall(pattern, log.read_text(encoding="utf-8", errors="replace"))
    return int(numbers[-1]) if numbers else None


def text(folder: str, evidence: Evidence, findings: list[Finding]) -> str:
    """Lay the findings out for a terminal."""
    steps = evidence.steps("train/loss")
    head = f"{folder}: {len(steps)} logged steps, the last is {int(steps[-1])}"
    if evidence.classes is None:
        head += " (class count unknown: --classes N lets the loss be compared with ln N)"
    lines = [head]
    if not findings:
        lines.append("no known signature: nothing in these numbers looks wrong")
    for finding in findings:
        lines.append(f"\n[{finding.level}] {finding.name}: {finding.seen}")
        lines += _wrapped(f"means: {finding.means}")
        for advice in finding.advice:
            lines += _wrapped(f"try: {advice}")
    return "\n".join(lines)


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, 96, initial_indent="  ", subsequent_indent="    ")


if __name__ == "__main__":
    run(main)
