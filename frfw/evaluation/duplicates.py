"""Pairs that come twice: refused in a list of one's own, noted in a published set.

One rule for every kind of set. A pair that is called the same once and different once is refused:
one of the two is wrong. A pair that merely comes again is refused in a list that its user can put
right (`.csv`, `.npz`), and noted in a published set, whose figures are made with it (CFP-FF repeats
130 pairs). `allow_duplicates=true` scores every line as it stands, with the note.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frfw.errors import FrfwError

_NAMED = 5  # repeated pairs in a note


@dataclass(frozen=True)
class Repeats:
    """Pairs that came before, in either order of their two ends.

    Attributes:
        again: (R,) positions, rising; first: (R,) where the same two ends stood first.
        disputed: (R,) bool: called another kind there.
    """

    again: NDArray[np.int64]
    first: NDArray[np.int64]
    disputed: NDArray[np.bool_]


def repeats(pairs: NDArray[np.integer], same: NDArray[np.bool_]) -> Repeats:
    """Find the pairs among (P, 2) numbers that come again."""
    ends = np.sort(pairs, axis=1)
    _, first, which = np.unique(ends, axis=0, return_index=True, return_inverse=True)
    earlier = first[which.reshape(-1)]
    again = np.flatnonzero(earlier != np.arange(len(pairs)))
    earlier = earlier[again]
    return Repeats(again, earlier.astype(np.int64), same[again] != same[earlier])


def judge(
    found: Repeats,
    same: NDArray[np.bool_],
    where: str,
    name: Callable[[int], str],
    *,
    own: bool,
    allowed: bool,
) -> dict[str, object]:
    """Refuse what the rule refuses; return what to note of the others.

    Args:
        same: (P,) kinds of all pairs.
        where: the file, for messages.
        name: says a pair by its position, e.g. "line 7".
        own: the list is its user's.
        allowed: every line is to be scored as it stands.

    Raises:
        FrfwError: a contradiction, or a repeated pair in a list of one's own.
    """
    if not found.again.size:
        return {}
    if found.disputed.any() and not allowed:
        at = int(np.argmax(found.disputed))
        again, first = int(found.again[at]), int(found.first[at])
        kind = "same" if same[again] else "different"
        other = "different" if same[again] else "same"
        raise FrfwError(
            f"{where}: {name(again)} calls two images {kind} that {name(first)} calls {other} "
            f"({int(found.disputed.sum())} such pairs); correct them, or set "
            "allow_duplicates=true (--allow-duplicates) to score each as it stands"
        )
    told = [f"{name(int(a))} is {name(int(f))} again" for a, f in zip(found.again, found.first)]
    count = found.again.size
    if own and not allowed:
        more = "pair comes" if count == 1 else "pairs come"
        raise FrfwError(
            f"{where}: {count} {more} more than once: {', '.join(told[:_NAMED])}"
            f"{' ...' if count > _NAMED else ''}; remove them, or set allow_duplicates=true to "
            "count them each time"
        )
    noted: dict[str, object] = {"repeated_pairs": int(count), "repeated": told[:_NAMED]}
    if found.disputed.any():
        noted["disputed_pairs"] = int(found.disputed.sum())
    return noted
