"""`python -m frfw.checkpoint inspect|average|to-safetensors PATH`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from frfw.command import run


def main() -> None:
    """Look into checkpoints, average them, or write them as safetensors."""
    arguments = _parser().parse_args()
    arguments.action(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m frfw.checkpoint",
        description="PATH is a run folder (its best checkpoint), a checkpoint file or, for inspect "
        "and to-safetensors, public weights.",
    )
    actions = parser.add_subparsers(required=True, metavar="inspect|average|to-safetensors")

    inspect = actions.add_parser("inspect", help="say what a checkpoint holds")
    inspect.add_argument("path")
    inspect.add_argument("--tensors", action="store_true", help="list the backbone's tensors too")
    inspect.add_argument("--json", action="store_true", help="for programs")
    inspect.set_defaults(action=_inspect)

    average = actions.add_parser("average", help="average the weights of several checkpoints")
    average.add_argument("path", nargs="+", help="checkpoint files, or a run folder: its step_*.pt")
    average.add_argument("--output", type=Path, required=True)
    average.add_argument("--overwrite", action="store_true")
    average.set_defaults(action=_average)

    export = actions.add_parser("to-safetensors", help="write the backbone as safetensors")
    export.add_argument("path")
    export.add_argument("--output", type=Path, help="default: beside the checkpoint")
    export.add_argument("--overwrite", action="store_true")
    export.set_defaults(action=_to_safetensors)
    return parser


def _inspect(arguments: argparse.Namespace) -> None:
    from frfw.training.describe import describe, tensor_lines, text

    facts = describe(arguments.path)
    if arguments.json:
        print(json.dumps(facts))
        return
    print(text(facts))
    if arguments.tensors:
        print("\n".join(tensor_lines(arguments.path)))


def _average(arguments: argparse.Namespace) -> None:
    from frfw.training.weight_files import average

    files = average(arguments.path, arguments.output, arguments.overwrite)
    print(f"{arguments.output}: the mean of {len(files)} checkpoints")
    for file in files:
        print(f"  {file}")


def _to_safetensors(arguments: argparse.Namespace) -> None:
    from frfw.training.weight_files import to_safetensors

    print(to_safetensors(arguments.path, arguments.output, arguments.overwrite))


if __name__ == "__main__":
    run(main)
