"""Recognise a verification set by its folder."""

from __future__ import annotations

from pathlib import Path

from frfw.data.layouts.agedb import PROTOCOL, read_agedb
from frfw.data.layouts.cfp import read_cfp
from frfw.data.layouts.common import PairList, beside
from frfw.data.layouts.lfw import read_lfw
from frfw.data.layouts.listed import read_pair_csv, read_two_line_list
from frfw.errors import FrfwError, nearest

LAYOUTS = ("lfw", "cfp_ff", "cfp_fp", "agedb_30", "calfw", "cplfw", "csv")


def read_layout(
    layout: str,
    images: str | Path,
    pairs: str | Path | None = None,
    skip_missing: bool = False,
) -> PairList:
    """Read the pairs of a published set in its own layout.

    Args:
        layout: one of LAYOUTS, or "auto" for a folder or CSV that can be recognised.
        images: the set's folder (for "csv": the CSV, or the folder its paths are relative to).
        pairs: the protocol file, where it is not with the images (cfp: the folder with Protocol).
        skip_missing: leave out pairs whose images are missing.

    Raises:
        FrfwError: no such layout, or what its reader raises.
    """
    images = Path(images)
    if layout == "auto":
        layout = _detect(images, pairs)
    if layout == "lfw":
        return read_lfw(images, pairs, skip_missing)
    if layout in ("cfp_ff", "cfp_fp"):
        return read_cfp(images, layout[-2:], skip_missing, pairs)
    if layout == "agedb_30":
        return read_agedb(images, pairs, skip_missing)
    if layout in ("calfw", "cplfw"):
        return read_two_line_list(images, pairs, layout, skip_missing)
    if layout == "csv":
        return read_pair_csv(pairs or images, images if pairs else None, skip_missing)
    raise FrfwError(
        f"there is no layout {layout!r}.{nearest(layout, LAYOUTS)} Choose {', '.join(LAYOUTS)}"
    )


def _detect(path: Path, pairs: str | Path | None) -> str:
    if path.suffix.lower() == ".csv":
        return "csv"
    if (Path(pairs or path) / "Protocol").is_dir():
        return "cfp_fp"
    for name in ("calfw", "cplfw"):
        if beside(path, f"pairs_{name.upper()}.txt"):
            return name
    if (path / "agedb_30.csv").is_file() or beside(path, PROTOCOL):
        return "agedb_30"
    if beside(path, "pairs.txt"):
        return "lfw"
    raise FrfwError(f"{path} is in no layout that is recognised: name one of {', '.join(LAYOUTS)}")
