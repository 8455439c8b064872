"""Who is on an image: from file names, or from what same pairs tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frfw.data.layouts.agedb import agedb_person
from frfw.errors import FrfwError, nearest

_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_NUMBERED = re.compile(r"_\d+$")


def identity_names(paths: Sequence[Path], layout: str) -> list[str]:
    """Return the identity on each image, as the layout's folders or file names say it."""
    if layout in ("cfp_ff", "cfp_fp"):  # Data/Images/<identity>/frontal/01.jpg
        return [path.parent.parent.name for path in paths]
    if layout in ("calfw", "cplfw"):  # <name>_0001.jpg, all in one folder
        return [_NUMBERED.sub("", path.stem) for path in paths]
    if layout == "agedb_30":  # <number>_<name>_<age>_<gender>.jpg
        return [agedb_person(path.stem) for path in paths]
    return [path.parent.name for path in paths]


def linked(count: int, same_pairs: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number the identities of `count` images: images joined by same pairs are one person.

    Images that no same pair joins count as people of their own, so this may split a person but
    never join two.
    """
    ones = np.ones(len(same_pairs), dtype=np.int8)
    from scipy.sparse import coo_matrix  # slow to import, so only here
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((ones, (same_pairs[:, 0], same_pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def matching(names: Sequence[str], wanted: object, key: str) -> NDArray[np.bool_]:
    """Return which of `names` the selection `wanted` means.

    Args:
        wanted: a name, a file with one name a line (# begins a comment; names that are not here
            are passed over), a range `401..500` of names that are numbers, or a list of these.
        key: said in messages.

    Raises:
        FrfwError: an item is none of these.
    """
    known = set(names)
    chosen: set[str] = set()
    items = [wanted] if isinstance(wanted, str | int | Path) else wanted
    if not isinstance(items, Iterable):
        raise FrfwError(f"{key} is a name, a file, a range or a list of these, not {wanted!r}")
    for item in items:
        text = str(item)
        span = _RANGE.fullmatch(text)
        if text in known:
            chosen.add(text)
        elif span:
            low, high = int(span[1]), int(span[2])
            chosen |= {name for name in known if name.isdigit() and low <= int(name) <= high}
        elif Path(text).is_file():
            lines = Path(text).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
            chosen |= {line.split("#")[0].strip() for line in lines} & known
        else:
            raise FrfwError(
                f"{key}: {text!r} is neither an identity here nor a file with one identity a "
                f"line.{nearest(text, sorted(known)[:10000])}"
            )
    return np.array([name in chosen for name in names], dtype=bool)
