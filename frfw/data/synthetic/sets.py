"""Which pictures a data set needs: training identities, and pairs of the verification sets."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from frfw.data.synthetic.conditions import Difficulty
from frfw.errors import FrfwError, nearest

FOLDS = 10
# What the two pictures of a pair show, and the number of the set's first person. Verification
# people start far above any training set, so they stay the same when that grows.
_SETS = {
    "lfw": (("mild", "mild"), 1_000_000_000),
    "cfp_fp": (("frontal", "profile"), 1_100_000_000),
    "agedb_30": (("young", "old"), 1_200_000_000),
}
SET_NAMES = tuple(_SETS)
_PAIRS_A_PERSON = 2


@dataclass(frozen=True)
class Parameters:
    """Everything a synthetic data set is a function of.

    Attributes:
        identities, images_per_identity: of the training set; 0 identities for none.
        size: side of the crops in pixels.
        seed: another seed, other people.
        pairs: of each verification set, a multiple of 20 (10 folds, half same, half different).
        sets: names of verification sets, of `SET_NAMES`.
        difficulty: strengths of what varies.
    """

    identities: int = 100
    images_per_identity: int = 40
    size: int = 112
    seed: int = 1
    pairs: int = 600
    sets: tuple[str, ...] = SET_NAMES
    difficulty: Difficulty = field(default_factory=Difficulty)

    def __post_init__(self) -> None:
        wrong = None
        if not 1 <= self.identities < 10**9:
            wrong = f"identities={self.identities} must be 1 to 10^9 - 1"
        elif self.images_per_identity < 1:
            wrong = f"images_per_identity={self.images_per_identity} must be at least 1"
        elif not 16 <= self.size <= 1024:
            wrong = f"size={self.size} must be 16 to 1024 pixels"
        elif self.seed < 0:
            wrong = f"seed={self.seed} must not be negative"
        elif self.sets and (self.pairs < 2 * FOLDS or self.pairs % (2 * FOLDS)):
            wrong = (
                f"pairs={self.pairs} must be a multiple of {2 * FOLDS}: {FOLDS} folds, half same"
            )
        for name in self.sets:
            if name not in _SETS:
                choices = ", ".join(_SETS)
                wrong = f"no verification set {name!r}: of {choices}.{nearest(name, _SETS)}"
        for name, value in asdict(self.difficulty).items():
            if not 0 <= value <= 3:
                wrong = f"difficulty.{name}={value} must be 0 to 3"
        if wrong:
            raise FrfwError(f"synthetic faces: {wrong}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, fit for JSON."""
        return {**asdict(self), "sets": list(self.sets)}


@dataclass(frozen=True)
class Person:
    """A unit of work: one person's pictures, as (index, scene)."""

    number: int
    pictures: tuple[tuple[int, str], ...]


def training_people(p: Parameters) -> list[Person]:
    """The training identities, in order of label."""
    pictures = tuple((k, "train") for k in range(p.images_per_identity))
    return [Person(number, pictures) for number in range(p.identities)]


@dataclass(frozen=True)
class PairPlan:
    """A verification set before it is drawn.

    Attributes:
        people: whose pictures are needed.
        pairs: (P, 2, 2) int: for both pictures of a pair, person in ``people`` and picture.
        same: (P,) bool; in every fold first the same, then the different pairs.
    """

    people: list[Person]
    pairs: np.ndarray
    same: np.ndarray


def plan_pairs(name: str, p: Parameters) -> PairPlan:
    """Plan a verification set: no person is in two folds, no picture in two same pairs."""
    scenes, first = _SETS[name]
    half = p.pairs // (2 * FOLDS)
    group = max(2, -(-half // _PAIRS_A_PERSON))
    one = tuple((k, scenes[k % 2]) for k in range(2 * _PAIRS_A_PERSON))
    people = [Person(first + k, one) for k in range(group * FOLDS)]
    rng = np.random.default_rng([p.seed, first, 89])
    pairs = []
    for fold in range(FOLDS):
        start = fold * group
        for k in range(half):
            person, take = start + k % group, 2 * ((k // group) % _PAIRS_A_PERSON)
            pairs.append([(person, take), (person, take + 1)])
        for k in range(half):
            person = start + k % group
            other = start + (k + int(rng.integers(1, group))) % group
            takes = 2 * rng.integers(_PAIRS_A_PERSON, size=2) + [0, 1]
            pairs.append([(person, int(takes[0])), (other, int(takes[1]))])
    same = np.tile(np.repeat([True, False], half), FOLDS)
    return PairPlan(people, np.array(pairs), same)
