"""The tools of `python -m frfw.data`: arguments in, one library call, a few lines out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from frfw.data.dataset import Dataset
from frfw.data.pack import pack
from frfw.data.record_writer import check_free
from frfw.data.source import open_source
from frfw.errors import FrfwError

Tools = argparse._SubParsersAction
_BY_NAME = "several sources: equal names are one person (otherwise identities stay apart)"


def whole(low: int, high: int = 10**9) -> Callable[[str], int]:
    """A type of argparse: a whole number in a range."""

    def parse(text: str) -> int:
        if not text.lstrip("-").isdigit() or not low <= int(text) <= high:
            limit = f"from {low} on" if high == 10**9 else f"from {low} to {high}"
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number {limit}")
        return int(text)

    return parse


def share(text: str) -> float:
    """A type of argparse: a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share from 0 to 1")
    return value


def add_source(tool: argparse.ArgumentParser) -> None:
    tool.add_argument(
        "source", metavar="ANY", nargs="+", help="folder, list, RecordIO or tar shards; or several"
    )
    tool.add_argument("--by-name", action="store_true", help=_BY_NAME)
    tool.add_argument("--patch", help="patch.csv of the clean tool, applied first")
    tool.add_argument("--keep", action="append", help="only these identities: name, file or 1..9")
    tool.add_argument("--exclude", action="append", help="without these identities")


def open_arguments(arguments: argparse.Namespace, size: int | None = None) -> Dataset:
    a = arguments
    where = {"path": a.source[0]}
    if len(a.source) > 1:
        where = {"sources": a.source, "merge": "name" if a.by_name else "apart"}
    options = {"patch": a.patch, "keep": a.keep, "exclude": a.exclude, "size": size}
    return open_source(where | options)


def bar_of(total: int, what: str) -> tqdm:
    return tqdm(total=total, unit="img", desc=what, mininterval=1.0, file=sys.stderr)


def progress_of(bar: tqdm) -> Callable[[int], object]:
    return lambda done: bar.update(done - bar.n)


def add_inspect(tools: Tools) -> None:
    tool = tools.add_parser("inspect", help="what is in a data set, and what would spoil a run")
    add_source(tool)
    tool.add_argument("--limit", type=whole(1), help="look at this many images, spread evenly")
    tool.add_argument("--bad-limit", type=share, default=0.01, help="allowed share of bad images")
    tool.add_argument("--picture", default="inspect.png", help="where the picture goes")
    tool.set_defaults(call=_inspect)


def _inspect(arguments: argparse.Namespace) -> None:
    from frfw.data.survey import survey
    from frfw.data.survey_report import check_picture, draw_picture, report_lines

    check_picture(Path(arguments.picture))
    dataset = open_arguments(arguments)
    total = min(len(dataset), arguments.limit or len(dataset))
    with bar_of(total, "inspect") as bar:
        found = survey(dataset, arguments.limit, arguments.bad_limit, progress_of(bar))
    print("\n".join(report_lines(dataset, found)))
    draw_picture(dataset, found, arguments.picture)
    print(f"picture: {arguments.picture}")
    problems = found.problems + found.geometry
    if problems:
        raise FrfwError(f"{dataset.name} would spoil a run: {'; '.join(problems)}")


def add_pack(tools: Tools) -> None:
    tool = tools.add_parser("pack", help="write MXNet RecordIO")
    add_source(tool)
    tool.add_argument("out", metavar="OUT", help="folder for train.rec, train.idx, property")
    tool.add_argument(
        "--size", type=whole(1, 4096), help="resize images of another size to this side"
    )
    tool.add_argument("--quality", type=whole(1, 100), help="encode anew as JPEG of this quality")
    tool.set_defaults(call=_pack)


def _pack(arguments: argparse.Namespace) -> None:
    check_free(Path(arguments.out))
    dataset = open_arguments(arguments)
    with bar_of(len(dataset), "pack") as bar:
        result = pack(
            dataset,
            arguments.out,
            size=arguments.size,
            quality=arguments.quality,
            progress=progress_of(bar),
        )
    for place, reason in result.bad:
        print(f"left out {place}: {reason}")
    if result.warning:
        print(f"warning: {result.warning}")
    print(
        f"{arguments.out}: {result.images} images of {result.identities} identities, "
        f"{len(result.bad)} unreadable ones left out"
    )


def add_align(tools: Tools) -> None:
    tool = tools.add_parser("align", help="five-point alignment to the template")
    add_source(tool)
    tool.add_argument("out", metavar="OUT", help="folder to write to, one sub-folder an identity")
    points = tool.add_mutually_exclusive_group()  # without either: the columns of a list
    points.add_argument("--landmarks", help="file with five points an image (text list or CSV)")
    points.add_argument("--detector", help="ONNX file of OpenCV's YuNet, to find the points")
    tool.add_argument("--size", type=whole(8, 4096), default=112)
    tool.add_argument("--interpolation", default="linear", help="nearest, linear, cubic or area")
    tool.add_argument("--border", default="black", help="black, edge or reflect")
    tool.set_defaults(call=_align)


def _align(arguments: argparse.Namespace) -> None:
    from frfw.data.align import align_source
    from frfw.data.alignment import Alignment

    a = arguments
    alignment = Alignment(size=a.size, interpolation=a.interpolation, border=a.border)
    dataset = open_arguments(a)
    with bar_of(len(dataset), "align") as bar:
        result = align_source(
            dataset, a.out, alignment, a.landmarks, a.detector, progress=progress_of(bar)
        )
    for place, reason in result.left_out:
        print(f"left out {place}: {reason}")
    print(f"{a.out}: {result.written} faces, {len(result.left_out)} left out")


def add_bench(tools: Tools) -> None:
    tool = tools.add_parser("bench", help="images/s of each part of the loader")
    add_source(tool)
    tool.add_argument("--augment", default="flip", help="preset")
    tool.add_argument("--batch", type=whole(1), default=128)
    tool.add_argument("--images", type=whole(1), default=4000, help="images a measurement")
    tool.add_argument("--workers", type=whole(0), nargs="*", default=[0, 1, 2])
    tool.set_defaults(call=_bench)


def _bench(arguments: argparse.Namespace) -> None:
    from frfw.data.bench import measure, table

    a, rates = arguments, {}
    try:
        for name, rate in measure(open_arguments(a), a.augment, a.batch, a.images, a.workers):
            rates[name] = rate
    finally:  # what was measured is worth showing even where the rest fails
        if rates:
            print(table(rates))
