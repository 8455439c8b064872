"""`python -m frfw.report RUN [RUN ...] | SWEEP_FOLDER`: write the page to look at."""

from __future__ import annotations

import argparse
from pathlib import Path

from frfw import command


def parser() -> argparse.ArgumentParser:
    """Return the command's arguments."""
    made = argparse.ArgumentParser(
        prog="frfw.report",
        description="Write report.html of a run, or a page that compares several runs.",
        epilog="One run folder: RUN/report.html. A sweep folder (a folder of run folders): "
        "SWEEP/report.html. Several: comparison.html beside the first.",
    )
    made.add_argument("path", nargs="+", help="run folders, or a sweep folder")
    made.add_argument("--output", metavar="FILE", help="write the page to this file instead")
    made.add_argument("--title", help="of a comparison; by default the sweep folder's name")
    return made


def main() -> None:
    """Write the report of one run, or the comparison of several."""
    arguments = parser().parse_args()
    from frfw.tracking.report import write_comparison, write_report
    from frfw.tracking.runs import is_run

    first = Path(arguments.path[0])
    alone = len(arguments.path) == 1 and (is_run(first) or not first.is_dir())
    if alone:
        print(write_report(first, arguments.output))
    else:
        print(write_comparison(arguments.path, arguments.output, arguments.title))


if __name__ == "__main__":
    command.run(main)
