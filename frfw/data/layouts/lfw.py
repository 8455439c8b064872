"""LFW: a folder of people and `pairs.txt` (View 2; Huang et al., UMass TR 07-49)."""

from __future__ import annotations

import os
from pathlib import Path

from frfw.data.layouts.common import PairList, Row, beside, collect, number, read_lines, with_suffix
from frfw.errors import FrfwError


def read_lfw(
    images: str | Path, pairs: str | Path | None = None, skip_missing: bool = False
) -> PairList:
    """Read `pairs.txt`: `folds n`, then for each fold n same and n different pairs.

    Same: `name i j`; different: `name_a i name_b j`; image i of a name is `name/name_000i.jpg`.

    Args:
        images: folder with one sub-folder a person, or the folder above it that holds `pairs.txt`.
        pairs: the protocol; by default `pairs.txt` in or beside `images`.
        skip_missing: leave out pairs whose images are missing; the others keep their folds.

    Raises:
        FrfwError: a file is missing, or a line is not as described.
    """
    images = Path(images)
    pairs = Path(pairs) if pairs else _find_protocol(images)
    lines = [line.split("\t" if "\t" in line else None) for line in read_lines(pairs)]
    if not lines or len(lines[0]) not in (1, 2):
        raise FrfwError(f"{pairs}, line 1: it should say `folds<TAB>pairs`, e.g. `10\t300`")
    folds = number(lines[0][0], f"{pairs}, line 1") if len(lines[0]) == 2 else 1
    each = number(lines[0][-1], f"{pairs}, line 1")
    body = lines[1:]
    while body and not body[-1]:
        body.pop()
    if len(body) != 2 * folds * each:
        raise FrfwError(
            f"{pairs} announces {folds} folds of {each} same and {each} different pairs, "
            f"{2 * folds * each} lines, but has {len(body)}"
        )
    root = _people_folder(images, (body[0] or [""])[0])
    rows = [_row(root, pairs, at, words, each) for at, words in enumerate(body)]
    return collect("lfw", rows, skip_missing=skip_missing)


def _row(root: Path, pairs: Path, at: int, words: list[str], each: int) -> Row:
    fold, place = divmod(at, 2 * each)
    same, where = place < each, f"{pairs}, line {at + 2}"
    if len(words) != (3 if same else 4):
        kind = "`name i j`" if same else "`name i name j`"
        raise FrfwError(f"{where}: a {'same' if same else 'different'} pair is {kind}")
    if same:
        words = [words[0], words[1], words[0], words[2]]
    first = _image(root, words[0], number(words[1], where), where)
    return first, _image(root, words[2], number(words[3], where), where), same, fold


def _image(root: Path, name: str, count: int, where: str) -> Path:
    if not name or "/" in name or "\\" in name or name.startswith("."):
        raise FrfwError(f"{where}: {name!r} is no name of a person's folder")
    return with_suffix(root / name / f"{name}_{count:04d}")


def _find_protocol(images: Path) -> Path:
    found = beside(images, "pairs.txt")
    if found:
        return found
    raise FrfwError(f"{images} has no pairs.txt in it or beside it: give the protocol file")


def _people_folder(images: Path, person: str) -> Path:
    """Find the folder that holds `person`: `images` itself or one below it."""
    if not images.is_dir():
        raise FrfwError(f"{images} is not a folder")
    if not os.path.isdir(images / person):
        for folder in sorted(p for p in images.iterdir() if p.is_dir()):
            if os.path.isdir(folder / person):
                return folder
    return images
