"""Pair lists beyond the layouts of frfw.data: CSV of one's own, RFW, XQLFW."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from frfw.data.layouts import PairList, read_lfw
from frfw.data.layouts.common import collect, inside, number, read_lines, with_suffix
from frfw.data.layouts.rows import read_rows
from frfw.errors import FrfwError, nearest

_TRUE, _FALSE = ("1", "true", "same", "yes"), ("0", "false", "different", "diff", "no")


def read_pair_csv(path: Path, images: Path | None = None, skip_missing: bool = False) -> PairList:
    """Read a CSV with the columns `path_a, path_b, same[, fold][, group]` (or `a, b, ...`).

    Paths are absolute, or relative to `images` (by default the folder of the CSV). Without `fold`
    every fold is -1: none is given.

    Args:
        skip_missing: leave out pairs whose images are missing instead of refusing the list.

    Raises:
        FrfwError: a column or value is missing or wrong, or images are missing.
    """
    columns, entries = read_rows(path)
    first, second = ("path_a", "path_b") if "path_a" in columns else ("a", "b")
    if first == "a" and not {"a", "b"} <= set(columns):
        first, second = "path_a", "path_b"
    for needed in (first, second, "same"):
        if needed not in columns:
            raise FrfwError(f"{path} has no column {needed!r}.{nearest(needed, columns)}")
    root, rows = images or path.parent, []
    for at, entry in entries:
        where, flag, fold = f"{path}, line {at}", entry["same"].lower(), entry.get("fold", "")
        if flag not in (*_TRUE, *_FALSE):
            raise FrfwError(f"{where}: same is {entry['same']!r}, not 1 or 0")
        files = [_file(root, entry[key], where) for key in (first, second)]
        rows.append((*files, flag in _TRUE, number(fold, where, low=0) if fold else -1))
    lines = np.array([at for at, _ in entries], np.int64)
    unnumbered = [at for at, row in zip(lines, rows) if row[3] < 0]
    if unnumbered and len(unnumbered) < len(rows):
        raise FrfwError(f"{path}, line {unnumbered[0]}: fold is empty here, not elsewhere")
    groups = [entry["group"] for _, entry in entries] if "group" in columns else None
    listed = collect(str(path), rows, groups, skip_missing)
    listed.name, listed.lines = path.stem, lines[listed.kept]
    return listed


def _file(root: Path, text: str, where: str) -> Path:
    if not text:
        raise FrfwError(f"{where}: a path is empty")
    return Path(text) if Path(text).is_absolute() else inside(root, text, where)


def read_xqlfw(root: Path, pairs: str | Path | None = None, skip_missing: bool = False) -> PairList:
    """Read XQLFW (Knoche et al., FG 2021): LFW's layout with its own `xqlfw_pairs.txt`."""
    candidates = [root / "xqlfw_pairs.txt", root.parent / "xqlfw_pairs.txt"]
    protocol = pairs or next((file for file in candidates if file.is_file()), candidates[0])
    listed = read_lfw(root, protocol, skip_missing)
    listed.name = "xqlfw"
    return listed


def read_rfw(root: Path, skip_missing: bool = False) -> PairList:
    """Read RFW (Wang et al., ICCV 2019): four groups of 6,000 pairs, reported apart.

    `txts/<Group>/<Group>_pairs.txt` has lines `name i j` (same) and `name_a i name_b j`
    (different); images are `data/<Group>/<name>/<name>_000i.jpg`. Each group makes ten
    consecutive folds.

    Raises:
        FrfwError: a file or image is missing, or a line is not as described.
    """
    files = sorted(root.glob("txts/*/*_pairs.txt"))
    if not files:
        raise FrfwError(f"{root} has no txts/<Group>/<Group>_pairs.txt: give RFW's test folder")
    rows, groups = [], []
    for file in files:
        group = file.parent.name
        lines = [(at, line.split()) for at, line in enumerate(read_lines(file), 1) if line.split()]
        if lines and len(lines[0][1]) <= 2:  # some copies begin with LFW's `10 300`
            lines = lines[1:]
        for place, (at, words) in enumerate(lines):
            where = f"{file}, line {at}"
            if len(words) not in (3, 4):
                raise FrfwError(f"{where}: a pair is `name i j` or `name i name j`")
            same = len(words) == 3
            a, i, b, j = (words[0], words[1], words[0], words[2]) if same else words
            folder = root / "data" / group
            pair = [_rfw_image(folder, who, which, where) for who, which in ((a, i), (b, j))]
            rows.append((*pair, same, place * 10 // len(lines)))
            groups.append(group)
    return collect("rfw", rows, groups, skip_missing)


def _rfw_image(folder: Path, name: str, count: str, where: str) -> Path:
    person = inside(folder, name, where)
    return with_suffix(person / f"{name}_{number(count, where):04d}")
