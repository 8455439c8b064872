"""Is what a run is scored on new to it? Identities and images that come twice, said before it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frfw.data.decode import BadImage
from frfw.data.selection import plain_name
from frfw.errors import FrfwError
from frfw.evaluation import PairSet

_IMAGES = 2000  # of the training set, and of a set of files: read spread evenly


def warnings(dataset: Any, data_path: Path | None, sets: Mapping[str, PairSet]) -> list[str]:
    """Say what training and verification sets share, and where a set contradicts itself.

    What can be known: identities by name, where both sides have names (numbers are names only
    within the training folder itself); images by their bytes, so a copy that was encoded again is
    not found; pairs marked different that the set's own same pairs make one person.

    Args:
        dataset: the training images.
        data_path: their folder or file.
        sets: the verification sets by name.
    """
    found = []
    ours = _digests(dataset)
    for name, pairs in sets.items():
        found += _shared_identities(dataset.identity_names, data_path, name, pairs)
        found += _shared_images(ours, len(dataset), name, pairs)
        found += _contradictions(name, pairs)
    return found


def _shared_identities(
    names: Iterable[str] | None, data_path: Path | None, name: str, pairs: PairSet
) -> list[str]:
    if names is None or pairs.identity_names is None or pairs.identities is None:
        return []
    theirs = {pairs.identity_names[i] for i in np.unique(pairs.identities).tolist()}
    if not _lies_in(pairs, data_path):
        theirs = {n for n in theirs if not n.isdigit()}
    known = {_spelling(n) for n in theirs}
    both = sorted({n for n in map(str, names) if {_spelling(n), _spelling(plain_name(n))} & known})
    if not both:
        return []
    return [
        f"{len(both)} of the {len(theirs)} identities of {name} are training identities too (by "
        f"name), e.g. {', '.join(both[:3])}: its figures flatter. Leave them out with "
        f"data.exclude= or evaluation.sets.{name}.exclude="
    ]


def _spelling(name: str) -> str:
    """Names that differ in case, spaces, dashes and underscores alone are one person's."""
    return "".join(c for c in name.casefold() if c not in " _-.")


def _lies_in(pairs: PairSet, data_path: Path | None) -> bool:
    items = pairs.images.items if pairs.images is not None else []
    if data_path is None or not items or not isinstance(items[0], Path):
        return False
    return items[0].resolve().is_relative_to(data_path.resolve())


def _digests(dataset: Any) -> dict[bytes, int]:
    """Digest of the bytes of some thousand training images, with the image's number."""
    found = {}
    for index in _spread(len(dataset)):
        try:
            found[_digest(dataset.read(index))] = index
        except (BadImage, OSError):  # said by the check of the images
            continue
    return found


def _spread(count: int) -> list[int]:
    return np.unique(np.linspace(0, count - 1, min(count, _IMAGES)).astype(np.int64)).tolist()


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=12).digest()


def _shared_images(ours: dict[bytes, int], total: int, name: str, pairs: PairSet) -> list[str]:
    if pairs.images is None:
        return []
    items = pairs.images.items
    files = bool(items) and isinstance(items[0], Path)
    shared: list[tuple[int, int]] = []
    for index in _spread(len(items)) if files else range(len(items)):
        try:
            found = ours.get(_digest(pairs.images.data(index)))
        except FrfwError:  # the evaluation itself names a file that cannot be read
            continue
        if found is not None:
            shared.append((index, found))
    if not shared:
        return []
    index, found = shared[0]
    return [
        f"{len(shared)} images of {name} are training images too ({len(ours)} of {total} training "
        f"images were compared), e.g. {pairs.images.locate(index)} is training image {found}: its "
        "figures flatter"
    ]


def _contradictions(name: str, pairs: PairSet) -> list[str]:
    """Pairs marked different whose images are the same, or of one person by the set itself."""
    found = []
    a, b = pairs.pairs.T
    own = ~pairs.same & (a == b)
    if own.any():
        found.append(f"{_count(own)} of {name} marked different are twice the same image")
    if pairs.identities is not None:
        who = pairs.identities
        wrong = ~pairs.same & (who[a] == who[b]) & ~own
        if wrong.any():
            found.append(
                f"{_count(wrong)} of {name} marked different are of one person by the set's own "
                "names or same pairs: its best accuracy is below 100 %"
            )
    return found


def _count(wrong: NDArray[np.bool_]) -> str:
    first = int(np.argmax(wrong))
    return f"{int(wrong.sum())} pair(s) (the first is pair {first}, counted from 0)"
