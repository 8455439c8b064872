"""The tools of `python -m frfw.data`: arguments in, one library call, a few lines out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from frfw.data.dataset import Dataset
from frfw.data.layouts import read_layout
from frfw.data.layouts.detect import LAYOUTS
from frfw.data.manifest import read_manifest, state_pack
from frfw.data.pack import check_target, pack
from frfw.data.pair_sets import draw_agedb, write_drawn, write_pair_list
from frfw.data.source import open_source
from frfw.errors import FrfwError

if TYPE_CHECKING:
    import numpy as np

    from frfw.data.clean import Findings

Tools = argparse._SubParsersAction
_BY_NAME = "several sources: equal names are one person (otherwise identities stay apart)"


def _source(tool: argparse.ArgumentParser) -> None:
    tool.add_argument(
        "source", metavar="ANY", nargs="+", help="folder, list, RecordIO or tar shards; or several"
    )
    tool.add_argument("--by-name", action="store_true", help=_BY_NAME)
    tool.add_argument("--patch", help="patch.csv of the clean tool, applied first")
    tool.add_argument("--keep", action="append", help="only these identities: name, file or 1..9")
    tool.add_argument("--exclude", action="append", help="without these identities")


def _open(arguments: argparse.Namespace, size: int | None = None) -> Dataset:
    a = arguments
    where = {"path": a.source[0]}
    if len(a.source) > 1:
        where = {"sources": a.source, "merge": "name" if a.by_name else "apart"}
    options = {"patch": a.patch, "keep": a.keep, "exclude": a.exclude, "size": size}
    return open_source(where | options)


def _bar(total: int, what: str) -> tqdm:
    return tqdm(total=total, unit="img", desc=what, mininterval=1.0, file=sys.stderr)


def _progress(bar: tqdm) -> Callable[[int], object]:
    return lambda done: bar.update(done - bar.n)


def add_inspect(tools: Tools) -> None:
    tool = tools.add_parser("inspect", help="what is in a data set, and what would spoil a run")
    _source(tool)
    tool.add_argument("--limit", type=int, help="look at this many images, spread evenly")
    tool.add_argument("--bad-limit", type=float, default=0.01, help="allowed share of bad images")
    tool.add_argument("--picture", default="inspect.png", help="where the picture goes")
    tool.set_defaults(call=_inspect)


def _inspect(arguments: argparse.Namespace) -> None:
    from frfw.data.survey import survey
    from frfw.data.survey_report import draw_picture, report_lines

    dataset = _open(arguments)
    total = min(len(dataset), arguments.limit or len(dataset))
    with _bar(total, "inspect") as bar:
        found = survey(dataset, arguments.limit, arguments.bad_limit, _progress(bar))
    print("\n".join(report_lines(dataset, found)))
    draw_picture(dataset, found, arguments.picture)
    print(f"picture: {arguments.picture}")
    if found.problems:
        raise FrfwError(f"{dataset.name} would spoil a run: {'; '.join(found.problems)}")


def add_pack(tools: Tools) -> None:
    tool = tools.add_parser("pack", help="write MXNet RecordIO")
    _source(tool)
    tool.add_argument("out", metavar="OUT", help="folder for train.rec, train.idx, property")
    tool.add_argument("--size", type=int, help="resize images of another size to this side")
    tool.add_argument("--quality", type=int, help="encode anew as JPEG of this quality")
    tool.set_defaults(call=_pack)


def _pack(arguments: argparse.Namespace) -> None:
    check_target(arguments.out)
    dataset = _open(arguments)
    with _bar(len(dataset), "pack") as bar:
        result = pack(
            dataset,
            arguments.out,
            size=arguments.size,
            quality=arguments.quality,
            progress=_progress(bar),
        )
    for place, reason in result.bad:
        print(f"left out {place}: {reason}")
    if result.warning:
        print(f"warning: {result.warning}")
    print(
        f"{arguments.out}: {result.images} images of {result.identities} identities, "
        f"{len(result.bad)} unreadable ones left out"
    )


def add_pairs(tools: Tools) -> None:
    tool = tools.add_parser(
        "pairs",
        help="make a verification pack",
        description="From a published layout (lfw, cfp_ff, cfp_fp, agedb_30, calfw, cplfw, csv), "
        "or drawn by seed with identity-disjoint folds (draw; draw-agedb by age gap).",
    )
    tool.add_argument("layout", choices=[*LAYOUTS, "auto", "draw", "draw-agedb"])
    tool.add_argument("images", metavar="IN", help="folder of the set (csv: the CSV)")
    tool.add_argument("out", metavar="OUT", help="the .bin to write")
    tool.add_argument("--protocol", help="pair list, where the layout does not fix it")
    tool.add_argument("--size", type=int, default=112, help="side in pixels")
    tool.add_argument("--pairs", type=int, default=6000, help="draw: pairs in all")
    tool.add_argument("--folds", type=int, default=10, help="draw: folds")
    tool.add_argument("--seed", type=int, default=0, help="draw: seed")
    tool.add_argument("--gap", type=int, default=30, help="draw-agedb: years between the images")
    tool.add_argument("--overwrite", action="store_true", help="replace an existing OUT")
    tool.set_defaults(call=_pairs)


def _pairs(arguments: argparse.Namespace) -> None:
    out, a = Path(arguments.out), arguments
    if out.suffix != ".bin":
        raise FrfwError(f"{out}: a verification pack's name ends in .bin")
    if out.exists() and not a.overwrite:
        raise FrfwError(f"{out} exists: give another name, or --overwrite")
    if a.layout == "draw":
        dataset = open_source({"path": a.images, "size": a.size})
        count = write_drawn(dataset, out, a.pairs, a.folds, a.seed)
    else:
        if a.layout == "draw-agedb":
            pairs = draw_agedb(a.images, a.pairs, a.gap, a.folds, a.seed)
        else:
            pairs = read_layout(a.layout, a.images, a.protocol)
        with _bar(2 * len(pairs.pairs), pairs.name) as bar:
            count = write_pair_list(pairs, out, a.size, _progress(bar))
    images = Path(a.images)
    state_pack(out, read_manifest(images if images.is_dir() else images.parent))
    print(f"{out}: {count} pairs")


def add_align(tools: Tools) -> None:
    tool = tools.add_parser("align", help="five-point alignment to the template")
    _source(tool)
    tool.add_argument("out", metavar="OUT", help="folder to write to, one sub-folder an identity")
    tool.add_argument("--landmarks", help="file with five points an image (text list or CSV)")
    tool.add_argument("--detector", help="ONNX file of OpenCV's YuNet, to find the points")
    tool.add_argument("--size", type=int, default=112)
    tool.add_argument("--interpolation", default="linear", help="nearest, linear, cubic or area")
    tool.add_argument("--border", default="black", help="black, edge or reflect")
    tool.set_defaults(call=_align)


def _align(arguments: argparse.Namespace) -> None:
    from frfw.data.align import align_source
    from frfw.data.alignment import Alignment

    a = arguments
    alignment = Alignment(size=a.size, interpolation=a.interpolation, border=a.border)
    dataset = _open(a)
    with _bar(len(dataset), "align") as bar:
        result = align_source(
            dataset, a.out, alignment, a.landmarks, a.detector, progress=_progress(bar)
        )
    for place, reason in result.left_out:
        print(f"left out {place}: {reason}")
    print(f"{a.out}: {result.written} faces, {len(result.left_out)} left out")


def add_clean(tools: Tools) -> None:
    tool = tools.add_parser("clean", help="list what is probably wrong; deletes nothing")
    _source(tool)
    tool.add_argument("--model", required=True, help="run folder or checkpoint for the embeddings")
    tool.add_argument("--against", help="data set or .bin whose identities must not be in it")
    tool.add_argument("--out", default="clean", help="folder for patch.csv and worst.png")
    tool.add_argument("--outlier", type=float, default=0.2, help="cosine to the identity's centre")
    tool.add_argument("--merge", type=float, default=0.75, help="cosine between two centres")
    tool.add_argument("--duplicate", type=float, default=0.97, help="cosine between two images")
    tool.add_argument(
        "--subcenters",
        type=float,
        nargs="?",
        const=75.0,
        metavar="DEGREES",
        help="also judge the training set of a loss=subcenter_arcface run by its sub-centres",
    )
    tool.set_defaults(call=_clean)


def _clean(arguments: argparse.Namespace) -> None:
    import frfw
    from frfw.data.clean import draw_worst, embed_dataset, find_faults, read_against, write_patch

    a = arguments
    model = frfw.load(a.model)
    dataset = _open(a, model.preprocessing.size)
    for line in model.preprocessing.alignment_differences(dataset.preprocessing):
        print(f"warning: model and data disagree in {line}")
    with _bar(len(dataset), "embed") as bar:
        embeddings = embed_dataset(dataset, model.embed, progress=_progress(bar))
    against = model.embed(read_against(a.against, dataset.size)) if a.against else None
    limits = {"outlier": a.outlier, "merge": a.merge, "duplicate": a.duplicate}
    found = find_faults(embeddings, dataset.labels, against=against, **limits)
    out = Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    if a.subcenters is not None:
        _subcenters(a.subcenters, model.path, dataset, embeddings, found, out)
    count = write_patch(dataset, found, out / "patch.csv")
    draw_worst(dataset, found, out / "worst.png")
    print(
        f"{len(found.outliers)} outliers, {len(found.duplicates)} repeated images, "
        f"{len(found.merges)} pairs of identities that are probably one person, "
        f"{len(found.overlaps)} identities in the evaluation set"
    )
    print(f"{out / 'patch.csv'}: {count} rows; apply with data.patch={out / 'patch.csv'}")


def _subcenters(
    max_angle: float,
    checkpoint: Path,
    dataset: Dataset,
    embeddings: np.ndarray,
    found: Findings,
    out: Path,
) -> None:
    from frfw.data.subcenters import judge, write_identities

    report = judge(checkpoint, dataset, embeddings, max_angle)
    listed = {image for image, _ in found.outliers}
    angles = ((int(i), float(report.angle[i])) for i in report.noisy.nonzero()[:, 0])
    found.noisy = sorted((p for p in angles if p[0] not in listed), key=lambda pair: -pair[1])
    write_identities(report, dataset, out / "subcenters.csv")
    print(
        f"{int(report.noisy.sum())} images above {max_angle:g} degrees from the dominant "
        f"sub-centre of their identity; by identity: {out / 'subcenters.csv'}"
    )


def add_bench(tools: Tools) -> None:
    tool = tools.add_parser("bench", help="images/s of each part of the loader")
    _source(tool)
    tool.add_argument("--augment", default="flip", help="preset")
    tool.add_argument("--batch", type=int, default=128)
    tool.add_argument("--images", type=int, default=4000, help="images a measurement")
    tool.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    tool.set_defaults(call=_bench)


def _bench(arguments: argparse.Namespace) -> None:
    from frfw.data.bench import bench, table

    a = arguments
    print(table(bench(_open(a), a.augment, a.batch, a.images, a.workers)))
