"""Pair lists beyond the layouts of frfw.data: CSV of one's own, embeddings, RFW, XQLFW."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from frfw.data.layouts import PairList, read_lfw
from frfw.data.layouts.common import collect, inside, number, read_lines, with_suffix
from frfw.errors import FrfwError, nearest
from frfw.evaluation.identities import linked

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
    reader = csv.DictReader(read_lines(path), skipinitialspace=True)
    columns = [(column or "").strip() for column in reader.fieldnames or []]
    reader.fieldnames = columns
    first, second = ("path_a", "path_b") if "path_a" in columns else ("a", "b")
    if first == "a" and not {"a", "b"} <= set(columns):
        first, second = "path_a", "path_b"
    for needed in (first, second, "same"):
        if needed not in columns:
            raise FrfwError(f"{path} has no column {needed!r}.{nearest(needed, columns)}")
    root, rows, groups = images or path.parent, [], []
    for at, entry in enumerate(reader, 2):
        where = f"{path}, line {at}"
        flag = (entry["same"] or "").strip().lower()
        if flag not in (*_TRUE, *_FALSE):
            raise FrfwError(f"{where}: same is {entry['same']!r}, not 1 or 0")
        files = [_file(root, (entry[key] or "").strip(), where) for key in (first, second)]
        fold = (entry.get("fold") or "").strip()
        rows.append((*files, flag in _TRUE, number(fold, where, low=0) if fold else -1))
        groups.append((entry.get("group") or "").strip())
    unnumbered = [at for at, row in enumerate(rows) if row[3] < 0]
    if unnumbered and len(unnumbered) < len(rows):
        raise FrfwError(f"{path}, line {unnumbered[0] + 2}: fold is empty here, not elsewhere")
    listed = collect(str(path), rows, groups if "group" in columns else None, skip_missing)
    listed.name = path.stem
    return listed


def _file(root: Path, text: str, where: str) -> Path:
    if not text:
        raise FrfwError(f"{where}: a path is empty")
    return Path(text) if Path(text).is_absolute() else inside(root, text, where)


def read_pair_embeddings(path: Path) -> dict[str, Any]:
    """Read pairs of embeddings from an `.npz`.

    Either `embeddings` (M, D) with `pairs` (P, 2), or `embeddings_a` and `embeddings_b` (P, D);
    with `same` (P,) and optionally `fold`, `group` (P,) and `identity` (M,).

    Raises:
        FrfwError: an array is missing or its shape does not fit.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except Exception as error:  # a damaged archive raises nearly anything in there
        raise FrfwError(f"{path} is no .npz of plain arrays: {error or 'it is cut off'}") from error
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise FrfwError(f"{path} is no .npz of plain arrays: it holds other files")
    if "embeddings_a" in arrays and "embeddings_b" in arrays:
        a, b = arrays["embeddings_a"], arrays["embeddings_b"]
        if a.ndim != 2 or a.shape != b.shape:
            raise FrfwError(f"{path}: embeddings_a {a.shape} and embeddings_b {b.shape} differ")
        arrays["embeddings"] = np.concatenate([a, b])
        arrays["pairs"] = np.arange(2 * len(a)).reshape(2, -1).T
    for key in ("embeddings", "pairs", "same"):
        if key not in arrays:
            raise FrfwError(f"{path} has no array {key!r}.{nearest(key, arrays)}")
    embeddings, pairs, same = arrays["embeddings"], arrays["pairs"], arrays["same"]
    if embeddings.ndim != 2 or pairs.shape != (same.size, 2) or same.ndim != 1:
        raise FrfwError(
            f"{path}: embeddings {embeddings.shape}, pairs {pairs.shape}, same {same.shape}; "
            "need (M, D), (P, 2), (P,)"
        )
    if not np.isin(same, (0, 1)).all():
        raise FrfwError(f"{path}: same holds {same[~np.isin(same, (0, 1))][0]}; need 0 and 1")
    if "identity" in arrays and arrays["identity"].shape != embeddings.shape[:1]:
        raise FrfwError(
            f"{path}: identity has shape {arrays['identity'].shape}, not {embeddings.shape[:1]}"
        )
    if pairs.size and (pairs.min() < 0 or pairs.max() >= len(embeddings)):
        raise FrfwError(f"{path}: pairs name rows outside 0..{len(embeddings) - 1}")
    for key in ("fold", "group"):
        if key in arrays and arrays[key].shape != same.shape:
            raise FrfwError(f"{path}: {key} has shape {arrays[key].shape}, not {same.shape}")
    pairs, same = pairs.astype(np.int64), same.astype(bool)
    who = arrays.get("identity")
    return {
        "embeddings": embeddings,
        "pairs": pairs,
        "same": same,
        "folds": arrays.get("fold", 10),
        "groups": arrays["group"].astype(str) if "group" in arrays else None,
        "identities": linked(len(embeddings), pairs[same]) if who is None else who,
    }


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
