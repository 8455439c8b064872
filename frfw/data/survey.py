"""One pass over a data set: what is in it, and what would spoil a run."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage, decode, resize
from frfw.data.duplicates import near_duplicates, perceptual_hash, small_picture
from frfw.data.template import face_offsets
from frfw.errors import FrfwError

_SIDE = 112
_GREY = 1.0  # difference of red and blue up to which an image has no colour
_CONTRAST = 4.0  # grey levels by which the eyes of aligned faces' mean are darker, at the least
_ENOUGH = 40  # images whose mean says something of them all
_LOST = 13.0  # pixels at which the search ends: what it found there is no eye
_OFFSET = 6.0  # pixels of 112 by which eyes or mouth may be off the template


@dataclass
class Survey:
    """What a pass found. Image numbers refer to the data set.

    Attributes:
        images, identities: counts of the whole set; `looked_at` images were decoded.
        per_identity: (C,) images of each identity.
        sizes: {(height, width): images}.
        bad: {image: reason}.
        exact: groups of images with the same bytes. near: groups that look alike (64-bit
            difference hash at most 2 bits apart, and alike at 16x16 pixels).
        mixed: groups of either kind that span identities: probably a wrong label.
        mean_face: (112, 112, 3) float32 RGB.
        offsets: {"left eye", "right eye", "mouth": (dx, dy)} of the mean face from the template,
            in pixels of a 112-pixel crop. contrast: how deep the eyes are in the mean face.
        coloured: images whose centre is not grey. red_share: the share of these with more red than
            blue there.
        problems: what would spoil a run. warnings: what may.
        geometry: problems that someone may want: faces that are not aligned, or not square.
    """

    images: int
    identities: int
    per_identity: np.ndarray
    looked_at: int = 0
    sizes: Counter = field(default_factory=Counter)
    bad: dict[int, str] = field(default_factory=dict)
    exact: list[list[int]] = field(default_factory=list)
    near: list[list[int]] = field(default_factory=list)
    mixed: list[list[int]] = field(default_factory=list)
    mean_face: np.ndarray = field(default_factory=lambda: np.zeros((_SIDE, _SIDE, 3), np.float32))
    offsets: dict[str, tuple[float, float]] = field(default_factory=dict)
    contrast: float = 0.0
    coloured: int = 0
    red_share: float = 1.0
    problems: list[str] = field(default_factory=list)
    geometry: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def survey(
    dataset: Dataset,
    limit: int | None = None,
    bad_limit: float = 0.01,
    progress: Callable[[int], object] = int,
) -> Survey:
    """Look at all images, or at `limit` of them spread evenly over the set."""
    if limit is not None and limit < 1:
        raise FrfwError(f"cannot look at {limit} images: give a limit of at least 1")
    count = len(dataset)
    chosen = np.arange(count)
    if limit is not None and limit < count:
        chosen = np.unique(np.linspace(0, count - 1, limit).astype(np.int64))
    found = Survey(count, dataset.num_classes, np.bincount(dataset.labels))
    digests: dict[bytes, list[int]] = {}
    hashes, total = np.zeros(len(chosen), np.uint64), np.zeros((_SIDE, _SIDE, 3), np.float64)
    pictures = np.zeros((len(chosen), 256), np.int8)
    redder: list[float] = []
    for row, index in enumerate(chosen.tolist()):
        progress(row + 1)
        try:
            data = dataset.read(index)
            image = decode(data)
        except BadImage as error:
            found.bad[index] = f"{dataset.locate(index)}: {error}"
            continue
        digests.setdefault(hashlib.blake2b(data, digest_size=12).digest(), []).append(index)
        found.sizes[image.shape[:2]] += 1
        small = resize(image, _SIDE)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        hashes[row], pictures[row] = perceptual_hash(grey), small_picture(grey)
        total += small
        centre = small[40:80, 36:76].reshape(-1, 3).mean(0)
        redder.append(centre[0] - centre[2])
    found.looked_at = len(chosen)
    found.exact = [group for group in digests.values() if len(group) > 1]
    _compare(found, dataset, chosen, (hashes, pictures), digests)
    if redder:
        found.mean_face = (total / len(redder)).astype(np.float32)
        hue = np.array(redder)
        found.coloured = int((np.abs(hue) > _GREY).sum())
        found.red_share = float((hue > _GREY).sum()) / max(found.coloured, 1)
        found.offsets, found.contrast = face_offsets(found.mean_face)
    found.warnings += dataset.notes
    _judge(found, bad_limit)
    _judge_geometry(found, bool(dataset.preprocessing.alignment))
    return found


def _compare(
    found: Survey,
    dataset: Dataset,
    chosen: np.ndarray,
    looks: tuple[np.ndarray, np.ndarray],
    digests: dict[bytes, list[int]],
) -> None:
    """Near duplicates among one image of each exact group; which groups span identities."""
    first = np.array(sorted(group[0] for group in digests.values()), np.int64)
    rows = np.searchsorted(chosen, first)
    groups = near_duplicates(looks[0][rows], looks[1][rows])
    found.near = [[int(first[i]) for i in group] for group in groups]
    for group in found.exact + found.near:
        if len(set(dataset.labels[group].tolist())) > 1:
            found.mixed.append(group)


def _judge(found: Survey, bad_limit: float) -> None:
    """Fill in problems and warnings."""
    share = len(found.bad) / max(found.looked_at, 1)
    if share > bad_limit:
        found.problems.append(
            f"{len(found.bad)} of {found.looked_at} images are unreadable ({share:.1%}, more than "
            f"the {bad_limit:.1%} that a run allows)"
        )
    elif found.bad:
        found.warnings.append(f"{len(found.bad)} images are unreadable; a run replaces them")
    if found.identities < 2:
        found.problems.append("there is one identity only: nothing to tell apart")
    if found.coloured and found.red_share < 0.35:
        found.problems.append(
            f"red and blue look swapped: only {found.red_share:.0%} of the faces are redder than "
            f"blue at their centre"
        )
    mixed_images = sum(len(g) for g in found.mixed)
    if mixed_images > 0.01 * max(found.looked_at, 1):
        found.problems.append(f"{mixed_images} duplicate images lie in different identities")
    elif found.mixed:
        found.warnings.append(f"{mixed_images} duplicate images lie in different identities")
    single = int((found.per_identity == 1).sum())
    if single:
        found.warnings.append(f"{single} identities have one image only")


def _judge_geometry(found: Survey, stated: bool) -> None:
    """Whether the faces are where a network expects them; `stated`: the manifest says how."""
    good = sum(found.sizes.values())
    tall = sum(n for (height, width), n in found.sizes.items() if height != width)
    if tall:
        where = found.geometry if tall > 0.01 * good else found.warnings
        where.append(f"{tall} of {good} images are not square: resizing distorts them")
    worst = max((float(np.hypot(*o)) for o in found.offsets.values()), default=0.0)
    # Where the manifest states it, the mean face is a hint: profiles move its eyes by pixels.
    where = found.geometry if good >= _ENOUGH else found.warnings
    if (found.contrast < _CONTRAST or worst > _LOST) and good and not stated:
        where.append("the mean face has no clear eyes: the faces are hardly aligned")
    elif worst > _OFFSET and not stated:
        where.append(
            f"eyes or mouth of the mean face lie {worst:.0f} px off the template: another alignment"
        )


def quick_check(dataset: Dataset, images: int = 512, bad_limit: float = 0.01) -> Survey:
    """Survey of `images` images, a second's work, for the start of a run.

    The caller decides what to do with `.problems`, `.geometry` and `.warnings`.
    """
    return survey(dataset, images, max(bad_limit, 2 / images))
