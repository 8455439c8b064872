"""Make verification packs: from the published layouts, or drawn from a folder by seed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage, decode, encode
from frfw.data.layouts import PairList
from frfw.data.layouts.agedb import agedb_images
from frfw.data.manifest import read_manifest
from frfw.data.preprocessing import Preprocessing
from frfw.data.verification_pack import write_pack
from frfw.errors import FrfwError

log = logging.getLogger("frfw.data")


def write_pair_list(
    pairs: PairList, path: str | Path, size: int = 112, progress: Callable[[int], object] = int
) -> int:
    """Write a published protocol as a `.bin`, pairs in order of their folds.

    Images of size x size keep their bytes; others are resized and written as PNG, losslessly.

    Returns:
        The number of pairs.

    Raises:
        FrfwError: an image is bad (a protocol cannot do without it), or the protocol has folds of
            unequal size, which a `.bin` cannot express.
    """
    counts = np.bincount(pairs.fold)
    if len(set(counts[counts > 0].tolist())) > 1:
        if not pairs.skipped:
            raise FrfwError(
                f"{pairs.name}: its folds have {sorted(set(counts.tolist()))} pairs, but a .bin "
                f"has folds of equal size; evaluate it from its own layout instead"
            )
        log.warning(
            "%s: %d pairs are left out, so the .bin's folds, equal parts of what is left, are not "
            "quite the protocol's",
            *(pairs.name, pairs.skipped),
        )
    order = np.argsort(pairs.fold, kind="stable")
    images = []
    for done, position in enumerate(pairs.pairs[order].reshape(-1).tolist()):
        source = pairs.paths[position]
        try:
            images.append(_fitted(source.read_bytes(), size))
        except (OSError, BadImage) as error:
            raise FrfwError(f"{source}: {error}") from error
        progress(done + 1)
    write_pack(path, images, pairs.same[order].tolist())
    return len(order)


def stated_by(pairs: PairList, given: Path) -> Preprocessing | None:
    """What the manifests say of how the images were cropped; None where nobody says.

    The manifest of an image is the nearest one from its folder up to `given`, the folder or CSV
    that the user named: crops may lie in a folder of the set's own layout.
    """
    top = os.path.abspath(given if given.is_dir() else given.parent)
    folders = {Path(os.path.abspath(path.parent)) for path in pairs.paths}
    limit = Path(os.path.commonpath([top, *folders]))
    found: dict[Path, Preprocessing | None] = {limit: read_manifest(limit)}

    def of(folder: Path) -> Preprocessing | None:
        if folder not in found:
            found[folder] = read_manifest(folder) or of(folder.parent)
        return found[folder]

    first, *others = [of(folder) for folder in sorted(folders)]
    if any(other != first for other in others):
        log.warning("%s: its images were cropped in different ways: nothing is stated", pairs.name)
        return None
    return first


def draw_pairs(
    labels: np.ndarray,
    pairs: int,
    folds: int = 10,
    seed: int = 0,
    ages: np.ndarray | None = None,
    gap: int = 0,
) -> PairList:
    """Draw balanced pairs whose folds share no identity.

    Args:
        labels: (N,) identity of each image.
        pairs: total number, half same and half different; a multiple of 2 * folds.
        ages: (N,) age of each image; both images of a pair are at least `gap` years apart.

    Returns:
        A `PairList` without paths; `pairs` are positions in `labels`, no pair comes twice.

    Raises:
        FrfwError: there are not enough different pairs in some fold.
    """
    if folds < 1 or pairs < 2 * folds or pairs % (2 * folds):
        raise FrfwError(f"{pairs} pairs do not divide into {folds} folds of equally many kinds")
    rng = np.random.default_rng([seed, 0xFA])
    identities = rng.permutation(np.unique(labels))
    rows, same, fold_of = [], [], []
    for fold in range(folds):
        mine = np.flatnonzero(np.isin(labels, identities[fold::folds]))
        for kind in (True, False):
            count = pairs // folds // 2
            rows.append(_draw(rng, mine, labels, kind, count, ages, gap, fold))
            same += [kind] * count
            fold_of += [fold] * count
    return PairList("drawn", [], np.concatenate(rows), np.array(same), np.array(fold_of))


def _draw(
    rng: np.random.Generator,
    mine: np.ndarray,
    labels: np.ndarray,
    same: bool,
    count: int,
    ages: np.ndarray | None,
    gap: int,
    fold: int,
) -> np.ndarray:
    """Draw `count` different pairs among the images `mine` of one fold."""
    found: dict[tuple[int, int], None] = {}
    by_label = {i: mine[labels[mine] == i] for i in np.unique(labels[mine]).tolist()}
    usable = [i for i, images in by_label.items() if len(images) > 1]
    possible = usable if same else len(by_label) > 1
    for _ in range(50 * count + 1000 if possible else 0):
        if len(found) == count:
            break
        images = by_label[usable[rng.integers(len(usable))]] if same else mine
        a, b = images[rng.integers(len(images))], images[rng.integers(len(images))]
        if a == b:
            continue
        apart = ages is None or abs(int(ages[a]) - int(ages[b])) >= gap
        if (labels[a] == labels[b]) == same and apart:
            found[min(int(a), int(b)), max(int(a), int(b))] = None
    if len(found) < count:
        kind = "same" if same else "different"
        raise FrfwError(
            f"fold {fold + 1} gives only {len(found)} {kind} pairs, not {count}: ask for fewer "
            f"pairs or folds, or use more identities"
        )
    return np.array(list(found), np.int64)


def write_drawn(
    dataset: Dataset, path: str | Path, pairs: int, folds: int = 10, seed: int = 0
) -> int:
    """Draw pairs from any source and write them as a `.bin`.

    A bad image that is drawn is left out and all pairs are drawn anew, so the result is a function
    of the good images and the seed.
    """
    usable = np.arange(len(dataset))
    while True:
        drawn = draw_pairs(np.asarray(dataset.labels)[usable], pairs, folds, seed)
        images: list[bytes] = []
        bad: list[int] = []
        for index in usable[drawn.pairs.reshape(-1)].tolist():
            try:
                images.append(_fitted(dataset.read(index), dataset.size))
            except BadImage as error:
                log.warning("left out: %s: %s", dataset.locate(index), error)
                bad.append(index)
        if not bad:
            write_pack(path, images, drawn.same.tolist())
            return pairs
        usable = np.setdiff1d(usable, bad)


def draw_agedb(
    images: str | Path, pairs: int, gap: int, folds: int = 10, seed: int = 0
) -> PairList:
    """Draw pairs at least `gap` years apart from AgeDB's folder, names giving person and age."""
    found = agedb_images(Path(images))
    people = sorted({person for _, person, _ in found})
    labels = np.array([people.index(person) for _, person, _ in found])
    ages = np.array([age for *_, age in found])
    drawn = draw_pairs(labels, pairs, folds, seed, ages, gap)
    drawn.name, drawn.paths = f"agedb_{gap}", [path for path, *_ in found]
    return drawn


def _fitted(data: bytes, size: int) -> bytes:
    image = decode(data)
    return data if image.shape[:2] == (size, size) else encode(decode(data, size), ".png")
