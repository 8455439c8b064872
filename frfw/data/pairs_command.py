"""`python -m frfw.data pairs`: a published protocol or drawn pairs in, a verification pack out."""

from __future__ import annotations

import argparse
from pathlib import Path

from frfw.data.commands import Tools, bar_of, progress_of, whole
from frfw.data.layouts import read_layout
from frfw.data.layouts.detect import LAYOUTS
from frfw.data.manifest import state_pack
from frfw.data.pair_sets import draw_agedb, stated_by, write_drawn, write_pair_list
from frfw.data.source import open_source
from frfw.errors import FrfwError

_DRAWN = ("draw", "draw-agedb")


def add_pairs(tools: Tools) -> None:
    tool = tools.add_parser(
        "pairs",
        help="make a verification pack",
        description="From a published layout (lfw, cfp_ff, cfp_fp, agedb_30, calfw, cplfw, csv), "
        "or drawn by seed with identity-disjoint folds (draw; draw-agedb by age gap).",
    )
    tool.add_argument("layout", choices=[*LAYOUTS, "auto", *_DRAWN])
    tool.add_argument("images", metavar="IN", help="folder of the set (csv: the CSV)")
    tool.add_argument("out", metavar="OUT", help="the .bin to write")
    tool.add_argument(
        "--protocol", help="pair list, where it is not with the images (cfp: folder of Protocol)"
    )
    tool.add_argument("--size", type=whole(1, 4096), default=112, help="side in pixels")
    tool.add_argument("--pairs", type=whole(2), help="draw: pairs in all (6000)")
    tool.add_argument("--folds", type=whole(1), help="draw: folds (10)")
    tool.add_argument("--seed", type=whole(0), help="draw: seed (0)")
    tool.add_argument("--gap", type=whole(0), help="draw-agedb: years between the images (30)")
    tool.add_argument("--overwrite", action="store_true", help="replace an existing OUT")
    tool.add_argument(
        "--skip-missing", action="store_true", help="leave out pairs whose images are missing"
    )
    tool.set_defaults(call=_pairs)


def _pairs(arguments: argparse.Namespace) -> None:
    out, a = Path(arguments.out), arguments
    _refuse_options_without_use(a)
    if out.suffix != ".bin":
        raise FrfwError(f"{out}: a verification pack's name ends in .bin")
    if out.exists() and not a.overwrite:
        raise FrfwError(f"{out} exists: give another name, or --overwrite")
    given = {"pairs": a.pairs, "folds": a.folds, "seed": a.seed, "gap": a.gap}
    drawing = {"pairs": 6000} | {key: value for key, value in given.items() if value is not None}
    skipped = 0
    if a.layout == "draw":
        dataset = open_source({"path": a.images, "size": a.size})
        stated = dataset.preprocessing
        count = write_drawn(dataset, out, **drawing)
    else:
        if a.layout == "draw-agedb":
            pairs = draw_agedb(a.images, **{"gap": 30} | drawing)
        else:
            pairs = read_layout(a.layout, a.images, a.protocol, a.skip_missing)
        stated, skipped = stated_by(pairs, Path(a.images)), pairs.skipped
        with bar_of(2 * len(pairs.pairs), pairs.name) as bar:
            count = write_pair_list(pairs, out, a.size, progress_of(bar))
    state_pack(out, stated)
    print(f"{out}: {count} pairs{f', {skipped} left out' * bool(skipped)}")


def _refuse_options_without_use(a: argparse.Namespace) -> None:
    """Nobody should believe that an option was heeded where it does nothing."""
    without = ["protocol", "skip_missing"] if a.layout in _DRAWN else ["pairs", "folds", "seed"]
    without += [] if a.layout == "draw-agedb" else ["gap"]
    for name in without:
        value = getattr(a, name)
        if value is not None and value is not False:  # 0 is given, too
            flag = "--" + name.replace("_", "-")
            raise FrfwError(f"{flag} means nothing for `pairs {a.layout}`: leave it out")
