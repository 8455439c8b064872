"""An identification set: whom to look for, and among whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frfw.errors import FrfwError
from frfw.evaluation.identification import FPIR_TARGETS, identify
from frfw.evaluation.images import ImageList
from frfw.evaluation.opening import check_keys
from frfw.evaluation.people import read_people
from frfw.evaluation.protocol_result import ProtocolResult
from frfw.values import rate, whole

_KEYS = (
    *("kind", "gallery", "probe", "ranks", "fpir", "rank"),
    *("skip_missing", "allow_duplicates"),
)
_RANKS = (1, 5, 10)


@dataclass
class SearchSet:
    """Gallery and probes, read and checked.

    Attributes:
        name: of the set.
        images: the gallery's, then the probes'.
        enrolled: how many of them are the gallery's.
        identities: of every image.
        ranks: to show.
        open_set: `fpir_targets` and `rank`, as `identify` takes them.
    """

    name: str
    images: ImageList
    enrolled: int
    identities: list[str]
    ranks: tuple[int, ...]
    open_set: dict[str, Any]

    normalised = True  # the embeddings that `score` takes

    def score(self, rows: NDArray[np.float32]) -> ProtocolResult:
        """Search with the (M, D) embeddings of `images`."""
        g, who = self.enrolled, self.identities
        found = identify(rows[:g], who[:g], rows[g:], who[g:], name=self.name, **self.open_set)
        return ProtocolResult(
            self.name, "identification", identification={"gallery": found}, ranks=self.ranks
        )


def open_search(name: str, source: Mapping[str, Any]) -> SearchSet:
    """Read gallery and probes.

    Raises:
        FrfwError: an unknown key, a rank or FPIR that cannot be, what `read_people` refuses, or
            an image on both sides.
    """
    check_keys(name, source, _KEYS)
    options = [bool(source.get(key)) for key in ("skip_missing", "allow_duplicates")]
    enrolled, who = read_people(source["gallery"], *options)
    asked, whose = read_people(source["probe"], *options)
    both = {file.resolve() for file in enrolled} & {file.resolve() for file in asked}
    if both:
        raise FrfwError(
            f"{name}: {len(both)} images are in the gallery and among the probes, e.g. "
            f"{min(map(str, both))}: a search would find the very image"
        )
    ranks = tuple(whole(k, f"{name}.ranks", 1) for k in _listed(source.get("ranks"), _RANKS))
    images = ImageList([*enrolled, *asked], name)
    return SearchSet(name, images, len(enrolled), [*who, *whose], ranks, open_set(name, source))


def open_set(name: str, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked `fpir_targets` and `rank` of a set's settings."""
    targets = tuple(rate(x, f"{name}.fpir") for x in _listed(source.get("fpir"), FPIR_TARGETS))
    rank = source.get("rank")
    return {
        "fpir_targets": targets,
        "rank": None if rank is None else whole(rank, f"{name}.rank", 1),
    }


def _listed(value: Any, default: tuple[Any, ...]) -> tuple[Any, ...]:
    if value is None:
        return default
    return tuple(value) if isinstance(value, list | tuple) else (value,)
