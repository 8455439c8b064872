"""Pairs to verify: from packs, published layouts, CSV files, or ready embeddings."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frfw.data.layouts import PairList, read_layout
from frfw.data.verification_pack import read_pack
from frfw.errors import FrfwError, nearest
from frfw.evaluation.arrays import first_equal
from frfw.evaluation.duplicates import judge, repeats
from frfw.evaluation.folds import fold_numbers
from frfw.evaluation.identities import identity_names, linked, matching
from frfw.evaluation.images import ImageList, of_pack
from frfw.evaluation.pair_embeddings import read_pair_embeddings
from frfw.evaluation.pair_files import read_pair_csv, read_rfw, read_xqlfw
from frfw.values import whole

log = logging.getLogger("frfw.evaluation")

LAYOUTS = (
    *("auto", "bin", "npz", "csv", "lfw", "cfp_ff", "cfp_fp"),
    *("agedb_30", "calfw", "cplfw", "xqlfw", "rfw"),
)
_KEYS = (
    *("kind", "path", "layout", "pairs", "images", "keep", "exclude"),
    *("skip_missing", "allow_duplicates", "folds"),
)


@dataclass
class PairSet:
    """Pairs of images, or of embeddings, with what is known of them.

    Attributes:
        name: of the set.
        images: the M images; None when the embeddings come with the pairs.
        pairs: (P, 2) int64 indices of images (or rows of `embeddings`).
        same: (P,) bool.
        folds: how many consecutive blocks, or (P,) the fold of every pair; None: the set does not
            say, and the settings decide.
        groups: (P,) names to report apart, or None.
        identities: (M,) int64 who is on each image, for intervals; linked through same pairs
            and repeated images where the set does not say.
        identity_names: of each number in `identities`, where the set names its people.
        embeddings: (M, D), or None.
        lines: (P,) int64, the line of the list that each pair stands on, where there is one.
        details: what a reader of the figures should know, e.g. skipped or repeated pairs.
    """

    name: str
    images: ImageList | None
    pairs: NDArray[np.int64]
    same: NDArray[np.bool_]
    folds: int | NDArray[np.int64] | None = None
    groups: NDArray[np.str_] | None = None
    identities: NDArray[np.int64] | None = None
    identity_names: list[str] | None = None
    embeddings: NDArray[np.floating] | None = None
    lines: NDArray[np.int64] | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.same.size)


def load_pairs(source: str | Path | Mapping[str, Any], name: str | None = None) -> PairSet:
    """Load a pair set.

    Args:
        source: a path (`.bin` pack, `.csv`, `.npz`, or a folder in a published layout), or a
            mapping with `path` and optionally `layout` (one of LAYOUTS; "auto" looks), `pairs`
            (the protocol file), `keep` / `exclude` (only pairs whose two identities are in, or
            none of which is in: a name, a file with one a line, a range `401..500`, or a list),
            `skip_missing`, `allow_duplicates` and `folds`.
        name: of the set; by default that of the file or layout.

    Raises:
        FrfwError: nothing there, unknown keys, or what the readers find wrong.
    """
    options = dict(source) if isinstance(source, Mapping) else {"path": source}
    for key in options:
        if key not in _KEYS:
            raise FrfwError(f"a verification set has no {key!r}.{nearest(key, _KEYS)}")
    if not options.get("path"):
        label = name or "NAME"
        raise FrfwError(f"no path for set {label}: evaluation.sets.{label}.path=FILE_OR_FOLDER")
    path = Path(str(options["path"]))
    if not path.exists():
        raise FrfwError(f"verification set {name or path.stem}: {path} does not exist")
    found = _read(path, options, name)
    if options.get("folds") is not None:
        found.folds = whole(options["folds"], f"{found.name}.folds", 2)
    _restrict(found, options)
    _check_duplicates(found, path, bool(options.get("allow_duplicates")))
    _check_kinds(found, path)
    return found


def _read(path: Path, options: Mapping[str, Any], name: str | None) -> PairSet:
    layout = _layout(path, str(options.get("layout") or "auto"))
    _check_places(options, layout, path)
    if layout == "bin":
        return _from_pack(path, name or path.stem)
    if layout == "npz":
        return PairSet(name=name or path.stem, images=None, **read_pair_embeddings(path))
    skip, images = bool(options.get("skip_missing")), options.get("images")
    if layout == "csv":
        listed = read_pair_csv(path, Path(images) if images else None, skip)
    elif layout == "rfw":
        listed = read_rfw(path, skip)
    elif layout == "xqlfw":
        listed = read_xqlfw(path, options.get("pairs"), skip)
    else:
        listed = read_layout(layout, path, options.get("pairs"), skip)
    found = _from_list(listed, layout, name or listed.name)
    if listed.skipped:
        found.details |= {"skipped_pairs": listed.skipped, "missing_images": listed.missing}
        log.warning(
            "%s: %d of %d pairs are skipped, %d images are missing",
            *(found.name, listed.skipped, listed.skipped + len(found), listed.missing),
        )
    return found


def _layout(path: Path, asked: str) -> str:
    if asked not in LAYOUTS:
        raise FrfwError(f"layout={asked}: there is none.{nearest(asked, LAYOUTS)}")
    suffix = path.suffix.lower().lstrip(".")
    if path.is_file():
        if suffix not in ("bin", "csv", "npz"):
            raise FrfwError(f"{path}: pairs come as a .bin pack, a .csv, an .npz, or a folder")
        return suffix
    if asked == "auto" and (path / "xqlfw_pairs.txt").is_file():
        return "xqlfw"
    if asked == "auto" and any(path.glob("txts/*/*_pairs.txt")):
        return "rfw"
    return asked


def _check_places(options: Mapping[str, Any], layout: str, path: Path) -> None:
    """Refuse a file or folder that would not be read."""
    if options.get("pairs") and layout in ("bin", "npz", "csv", "cfp_ff", "cfp_fp", "rfw"):
        raise FrfwError(f"{path}: its layout ({layout}) has its pair list; leave out pairs=")
    if options.get("images") and layout != "csv":
        raise FrfwError(f"{path}: images= is for a .csv; path= is where a layout's images are")


def _from_pack(path: Path, name: str) -> PairSet:
    pack = read_pack(path)
    images, where = of_pack(pack.images, str(path))
    pairs = where.reshape(-1, 2)
    identities = linked(len(images), pairs[pack.same])
    return PairSet(name, images, pairs, pack.same, identities=identities)


def _from_list(listed: PairList, layout: str, name: str) -> PairSet:
    names = identity_names(listed.paths, layout)
    known, identities = np.unique(names, return_inverse=True)
    a, b = identities[listed.pairs].T
    named = layout != "csv" or np.array_equal(a == b, listed.same)
    if not named:  # the folders of such a list are not identities
        identities = linked(len(listed.paths), listed.pairs[listed.same])
    return PairSet(
        name,
        ImageList(listed.paths, name),
        listed.pairs,
        listed.same,
        listed.fold if (listed.fold >= 0).all() else None,
        listed.group,
        identities.astype(np.int64),
        known.tolist() if named else None,
        lines=listed.lines,
    )


def _restrict(found: PairSet, options: Mapping[str, Any]) -> None:
    """Leave only the pairs of wanted identities."""
    names = found.identity_names
    keep, exclude = options.get("keep"), options.get("exclude")
    if not keep and not exclude:
        return
    if names is None or found.identities is None:
        raise FrfwError(f"{found.name}: its file names no identities: no keep or exclude here")
    wanted = np.ones(len(names), bool)
    if keep:
        wanted = matching(names, keep, f"{found.name}.keep")
    if exclude:
        wanted &= ~matching(names, exclude, f"{found.name}.exclude")
    both = wanted[found.identities][found.pairs].all(axis=1)
    if not both.any():
        raise FrfwError(f"{found.name}: keep and exclude leave no pair")
    log.info("%s: %d of %d pairs kept by identity", found.name, both.sum(), both.size)
    found.details |= {"pairs_before_restriction": int(both.size)}
    found.pairs, found.same = found.pairs[both], found.same[both]
    if np.ndim(found.folds):
        found.folds = np.asarray(found.folds)[both]
    if found.groups is not None:
        found.groups = found.groups[both]
    if found.lines is not None:
        found.lines = found.lines[both]
    _drop_unused(found)


def _drop_unused(found: PairSet) -> None:
    """Forget images that no pair names any more, so that they are not embedded."""
    used, pairs = np.unique(found.pairs, return_inverse=True)
    found.pairs = pairs.reshape(found.pairs.shape).astype(np.int64)
    found.identities = found.identities[used]
    found.images = found.images.subset(used)


def _check_kinds(found: PairSet, path: Path) -> None:
    """Refuse before anything is embedded what could not be scored afterwards."""
    if found.same.all() or not found.same.any():
        kind = "same" if found.same.all() else "different"
        raise FrfwError(
            f"{path}: all {len(found)} pairs are '{kind}': error rates need pairs of both kinds; "
            "check the column or file that says which are the same"
        )
    if found.folds is not None:
        check_folds(found, found.folds, str(path))


def check_folds(pairs: PairSet, folds: int | NDArray[np.int64], where: str) -> None:
    """Refuse folds that cannot be cross-validated; FrfwError says where they come from."""
    try:
        fold_numbers(len(pairs), folds)
    except FrfwError as error:
        raise FrfwError(f"{where}: {error}") from error


def _check_duplicates(found: PairSet, path: Path, allowed: bool) -> None:
    """Look for pairs that come twice; images and embeddings are known by their bytes or names."""
    pairs = found.pairs
    if found.embeddings is not None:
        pairs = first_equal(found.embeddings)[pairs]

    def name(at: int) -> str:
        return f"pair {at}" if found.lines is None else f"line {found.lines[at]}"

    own = path.suffix.lower() in (".csv", ".npz")
    again = repeats(pairs, found.same)
    found.details |= judge(again, found.same, str(path), name, own=own, allowed=allowed)
