"""Verification sets given as lists: CALFW, CPLFW, and a CSV of pairs."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from frfw.data.layouts.common import (
    PairList,
    Row,
    beside,
    collect,
    folder_with,
    inside,
    number,
    read_lines,
)
from frfw.errors import FrfwError, nearest


def read_two_line_list(
    images: str | Path, pairs: str | Path | None, name: str, skip_missing: bool = False
) -> PairList:
    """Read the pair list of CALFW or CPLFW: two lines a pair, `file flag`, flag 0 = different.

    The images lie in `images` or in a folder below it (`aligned images`, `images`); the list is by
    default `pairs_CALFW.txt` or `pairs_CPLFW.txt` in `images` or beside it.

    Where the flags of same pairs are 1..10 they are fold numbers; where they are all 1, same pairs
    make ten contiguous folds. Different pairs are spread over the folds in order.

    Raises:
        FrfwError: a file is missing, an odd number of lines, two lines that disagree.
    """
    images = Path(images)
    default = f"pairs_{name.upper()}.txt"
    pairs = Path(pairs) if pairs else beside(images, default) or images / default
    lines = [line.split() for line in read_lines(pairs) if line.strip()]
    if len(lines) % 2:
        raise FrfwError(f"{pairs} has {len(lines)} lines, an odd number: a pair takes two")
    images = folder_with(images, [line[0] for line in lines[:50]])
    entries = []
    for at in range(0, len(lines), 2):
        where = f"{pairs}, lines {at + 1} and {at + 2}"
        first, second = lines[at], lines[at + 1]
        if len(first) != 2 or len(second) != 2 or first[1] != second[1]:
            raise FrfwError(f"{where}: each should say `file flag`, with the same flag")
        files = inside(images, first[0], where), inside(images, second[0], where)
        entries.append((*files, number(first[1], where, low=0)))
    flags = np.array([flag for *_, flag in entries], np.int64)
    fold = np.maximum(flags - 1, 0)
    numbered = flags.max(initial=0) > 1
    folds = int(flags.max()) if numbered else 10
    for kind in [flags == 0] if numbered else [flags == 0, flags > 0]:
        fold[kind] = np.arange(kind.sum()) * folds // max(kind.sum(), 1)
    rows = [(a, b, flag > 0, int(f)) for (a, b, flag), f in zip(entries, fold)]
    return collect(name, rows, skip_missing=skip_missing)


def read_pair_csv(
    path: str | Path, images: str | Path | None = None, skip_missing: bool = False
) -> PairList:
    """Read a CSV with a header: columns `a`, `b`, `same` (0/1) and optionally `fold`, `group`.

    Without `fold` (0-based) the pairs make ten contiguous folds.

    Args:
        images: folder that `a` and `b` are relative to; by default that of the CSV.
        skip_missing: leave out pairs whose images are missing.

    Raises:
        FrfwError: a column, a file or a value is missing or wrong.
    """
    path = Path(path)
    root = Path(images) if images else path.parent
    reader = csv.DictReader(read_lines(path))
    columns = [c.strip() for c in reader.fieldnames or []]
    for needed in ("a", "b", "same"):
        if needed not in columns:
            raise FrfwError(f"{path} has no column {needed!r}.{nearest(needed, columns)}")
    entries = list(reader)
    rows: list[Row] = []
    for at, entry in enumerate(entries):
        where, flag = f"{path}, line {at + 2}", (entry["same"] or "").strip().lower()
        if flag not in ("0", "1", "true", "false"):
            raise FrfwError(f"{where}: same is {entry['same']!r}, not 0 or 1")
        fold = (entry.get("fold") or "").strip()
        fold_number = number(fold, where, low=0) if fold else at * 10 // len(entries)
        files = (inside(root, (entry[c] or "").strip(), where) for c in ("a", "b"))
        rows.append((*files, flag in ("1", "true"), fold_number))
    groups = [e["group"] or "" for e in entries] if "group" in columns else None
    return collect(path.stem, rows, groups, skip_missing)
