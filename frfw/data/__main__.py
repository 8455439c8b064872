"""Tools for data sets.

python -m frfw.data inspect ANY          what is in it, and what would spoil a run
python -m frfw.data pack ANY OUT         write MXNet RecordIO, re-encoding nothing
python -m frfw.data align ANY OUT        five-point alignment to the template
python -m frfw.data pairs LAYOUT IN OUT  make a verification pack (.bin)
python -m frfw.data clean ANY --model RUN   list what is probably wrong, as a patch
python -m frfw.data bench ANY            images/s of each part of the loader
"""

from __future__ import annotations

import argparse

from frfw.command import run
from frfw.data import clean_command, commands, pairs_command


def main() -> None:
    """Parse the command line and call the tool."""
    parser = argparse.ArgumentParser(
        prog="python -m frfw.data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tools = parser.add_subparsers(dest="tool", required=True, metavar="TOOL")
    for add in (
        commands.add_inspect,
        commands.add_pack,
        commands.add_align,
        pairs_command.add_pairs,
        clean_command.add_clean,
        commands.add_bench,
    ):
        add(tools)
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    run(main)
