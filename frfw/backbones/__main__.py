"""`python -m frfw.backbones`: a table of the backbones' sizes."""

from __future__ import annotations

import argparse
import json

from frfw.backbones.counting import describe
from frfw.backbones.registry import backbone_names
from frfw.command import run


def main() -> None:
    """Print name, parameters and multiply-adds of the backbones named, or of all built-in ones."""
    parser = argparse.ArgumentParser(
        prog="python -m frfw.backbones",
        description="Name, parameters and multiply-adds (of one image) of backbones.",
    )
    parser.add_argument("name", nargs="*", help="e.g. iresnet50 or timm/resnet18; default: all")
    parser.add_argument("--embedding-dim", type=int, default=512)
    parser.add_argument("--input-size", type=int, default=112, help="pixels, default 112")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    names = arguments.name or backbone_names()
    if not arguments.json:
        print(f"{'name':<32} {'parameters':>12} {'MACs':>12}   (input {arguments.input_size})")
    for name in names:
        row = describe(name, arguments.embedding_dim, arguments.input_size)
        if arguments.json:
            print(json.dumps(row))
        else:
            millions = row["parameters"] / 1e6, row["macs"] / 1e6
            print(f"{name:<32} {millions[0]:>10,.2f} M {millions[1]:>10,.1f} M")


if __name__ == "__main__":
    run(main)
