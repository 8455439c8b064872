"""CFP: frontal and profile faces in ten splits (Sengupta et al., WACV 2016)."""

from __future__ import annotations

import os
from pathlib import Path

from frfw.data.layouts.common import PairList, Row, collect, inside, number, read_lines
from frfw.errors import FrfwError


def read_cfp(
    root: str | Path,
    protocol: str = "FP",
    skip_missing: bool = False,
    lists: str | Path | None = None,
) -> PairList:
    """Read `Protocol/Split/<protocol>/<01..10>/{same,diff}.txt` with its image lists.

    The first number of a pair is a line of `Pair_list_F.txt`; the second one of `Pair_list_P.txt`
    (FP) or of `Pair_list_F.txt` (FF).

    Args:
        root: folder with `Protocol` and `Data/Images`, or one of these.
        protocol: "FP" (frontal against profile) or "FF" (frontal against frontal).
        skip_missing: leave out pairs whose images are missing.
        lists: folder with `Protocol`, where it is not with the images; `root` is then the folder
            that has the images as `Data/Images`, or what is in that (as `align` writes it).

    Raises:
        FrfwError: a file is missing, a line is not as described, a number is in no list.
    """
    images, root = Path(root), _root(Path(lists or root))
    if protocol.upper() not in ("FF", "FP"):
        raise FrfwError(f"CFP has the protocols FF and FP, not {protocol!r}")
    protocol = protocol.upper()
    images = images if lists else root
    frontal = _image_list(root, "F", images)
    second = frontal if protocol == "FF" else _image_list(root, "P", images)
    splits = root / "Protocol" / "Split" / protocol
    if not splits.is_dir():
        raise FrfwError(f"{splits} is missing: CFP's own Protocol folder has it")
    rows: list[Row] = []
    for fold, folder in enumerate(sorted(p for p in splits.iterdir() if p.is_dir())):
        for name, same in (("same.txt", True), ("diff.txt", False)):
            rows += _split(folder / name, frontal, second, same, fold)
    return collect(f"cfp_{protocol.lower()}", rows, skip_missing=skip_missing)


def _root(given: Path) -> Path:
    for folder in (given, given.parent, given.parent.parent):
        if (folder / "Protocol").is_dir():
            return folder
    raise FrfwError(f"{given} has no Protocol: give the folder that holds CFP's Protocol and Data")


def _image_list(root: Path, letter: str, images: Path) -> dict[int, Path]:
    """Read `<number> ../Data/Images/<identity>/<kind>/<image>.jpg` lines."""
    path = root / "Protocol" / f"Pair_list_{letter}.txt"
    names: dict[int, tuple[str, str]] = {}  # path of the image, and the line that gives it
    for at, line in enumerate(read_lines(path), 1):
        words, where = line.split(maxsplit=1), f"{path}, line {at}"
        if not words:
            continue
        if len(words) != 2:
            raise FrfwError(f"{where}: it should say `number path`")
        relative = words[1].strip().replace("\\", "/").removeprefix("../")
        names[number(words[0], where)] = relative, where
    above = _not_there(images, [relative for relative, _ in names.values()])
    return {
        key: inside(images, relative.removeprefix(above), where)
        for key, (relative, where) in names.items()
    }


def _not_there(images: Path, names: list[str]) -> str:
    """The first folders of the listed paths that `images` does not have, being inside of them."""
    for above in ("", "Data/", "Data/Images/"):
        if any(os.path.isfile(images / name.removeprefix(above)) for name in names):
            return above
    return ""


def _split(
    path: Path, first: dict[int, Path], second: dict[int, Path], same: bool, fold: int
) -> list[Row]:
    rows = []
    for at, line in enumerate(read_lines(path), 1):
        words, where = line.replace(" ", "").split(","), f"{path}, line {at}"
        if words == [""]:
            continue
        if len(words) != 2:
            raise FrfwError(f"{where}: it should say `number,number`")
        a, b = number(words[0], where), number(words[1], where)
        if a not in first or b not in second:
            raise FrfwError(f"{where}: image {a if a not in first else b} is in no Pair_list")
        rows.append((first[a], second[b], same, fold))
    return rows
