"""An IJB set: images pooled into templates, compared 1:1 and searched 1:N."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frfw.data.layouts.common import list_missing
from frfw.errors import FrfwError
from frfw.evaluation.aligned import LandmarkImages
from frfw.evaluation.identification import identify
from frfw.evaluation.images import ImageList
from frfw.evaluation.opening import check_keys
from frfw.evaluation.protocol_result import ProtocolResult
from frfw.evaluation.search_set import open_set
from frfw.evaluation.template_checks import check_media, check_pairs
from frfw.evaluation.template_files import Media, read_detections, read_media, read_subjects
from frfw.evaluation.templates import Templates, pool_templates, template_rows, verify_templates

log = logging.getLogger("frfw.evaluation")

_KEYS = (
    *("kind", "images", "aligned", "meta", "prefix"),
    *("media_pooling", "detector_score", "keep_norm"),
    *("galleries", "probe", "fpir", "rank", "skip_missing", "allow_duplicates"),
)
Subjects = tuple[NDArray[np.int64], NDArray[np.int64]]  # templates, whose they are


@dataclass
class TemplateSet:
    """The lists of an IJB set, read and checked; pairs are read again when they are scored.

    Attributes:
        name: of the set.
        images: (N,) distinct images.
        listed: the media list; where: (M,) the image of each of its lines.
        weights: (N,) detector scores, or None where they do not weigh.
        flags: `keep_norm` and `media_pooling`, as `pool_templates` takes them.
        pairs: the file of 1:1 pairs, or None.
        galleries: by name, enrolled templates; probes: those to look for, or None.
        open_set: `fpir_targets` and `rank`, as `identify` takes them.
        notes: what a reader must know of the lists.
    """

    name: str
    images: ImageList
    listed: Media
    where: NDArray[np.int64]
    weights: NDArray[np.float64] | None
    flags: dict[str, bool]
    pairs: Path | None
    galleries: dict[str, Subjects]
    probes: Subjects | None
    open_set: dict[str, Any]
    notes: list[str]

    normalised = False  # the embeddings that `score` takes keep their norms

    def score(self, rows: NDArray[np.float32]) -> ProtocolResult:
        """Pool the (N, D) embeddings of `images`, then compare and search."""
        weights = None if self.weights is None else self.weights[self.where]
        bank = pool_templates(rows[self.where], self.listed, detector_scores=weights, **self.flags)
        found = ProtocolResult(self.name, "templates", notes=self.notes)
        if self.pairs is not None:
            found.verification = verify_templates(bank, self.pairs, name=self.name)
        for gallery, enrolled in self.galleries.items():
            sides = [*self._side(bank, enrolled), *self._side(bank, self.probes)]
            found.identification[gallery] = identify(
                *sides, name=f"{self.name} {gallery}", **self.open_set
            )
        return found

    def _side(self, bank: Templates, side: Subjects) -> tuple[NDArray[Any], NDArray[Any]]:
        return bank.features[bank.rows(side[0], self.name)], side[1]


def open_templates(name: str, source: Mapping[str, Any]) -> TemplateSet:
    """Read the lists of an IJB set.

    Raises:
        FrfwError: an unknown key, a rank or FPIR that cannot be, a list that is wrong, missing
            images, neither pairs nor galleries.
    """
    check_keys(name, source, _KEYS)
    meta, prefix = Path(source["meta"]), source["prefix"]
    allowed = bool(source.get("allow_duplicates"))
    media_list = meta / f"{prefix}_face_tid_mid.txt"
    listed = read_media(media_list)
    notes = check_media(listed, media_list, allowed)
    listed, told = _without_missing(name, listed, source)
    names, where = np.unique(listed.names, return_inverse=True)
    images, weights = _faces(name, names, source, meta / f"{prefix}_name_5pts_score.txt")
    ids, pairs = np.unique(listed.templates), meta / f"{prefix}_template_pair_label.txt"
    if pairs.is_file():
        notes += check_pairs(pairs, ids, allowed)
    galleries, probes = _one_to_many(name, ids, meta, prefix, source)
    if not pairs.is_file() and not galleries:
        raise FrfwError(f"{name}: {meta} holds neither {pairs.name} nor galleries and probes")
    return TemplateSet(
        name=name,
        images=images,
        listed=listed,
        where=where.reshape(-1),
        weights=weights,
        flags={key: bool(source.get(key, True)) for key in ("keep_norm", "media_pooling")},
        pairs=pairs if pairs.is_file() else None,
        galleries=galleries,
        probes=probes,
        open_set=open_set(name, source),
        notes=[*told, *notes],
    )


def _one_to_many(
    name: str, ids: NDArray[np.int64], meta: Path, prefix: str, source: Mapping[str, Any]
) -> tuple[dict[str, Subjects], Subjects | None]:
    """Read the galleries that there are, and the probes; all must have images."""
    path = meta / f"{prefix}_1N_probe_{source.get('probe') or 'mixed'}.csv"
    asked = {g: meta / f"{prefix}_1N_gallery_{g}.csv" for g in source.get("galleries") or ()}
    files = {gallery: file for gallery, file in asked.items() if file.is_file()}
    gone = [file.name for file in (*asked.values(), path) if not file.is_file()]
    if asked and gone:
        log.warning("%s: no 1:N with %s: not in %s", name, ", ".join(gone), meta)
    if not files or not path.is_file():
        return {}, None
    probes = read_subjects(path)
    template_rows(ids, probes[0], str(path))
    galleries = {}
    for gallery, file in files.items():
        galleries[gallery] = read_subjects(file)
        template_rows(ids, galleries[gallery][0], str(file))
        both = np.intersect1d(galleries[gallery][0], probes[0])
        if both.size:
            raise FrfwError(
                f"{file}: {both.size} templates, e.g. {both[0]}, are among the probes of "
                f"{path.name} too: a search would find the very template"
            )
    return galleries, probes


def _without_missing(
    name: str, listed: Media, source: Mapping[str, Any]
) -> tuple[Media, list[str]]:
    """Return the media whose images are there; a template must keep one of its images."""
    names, where = np.unique(listed.names, return_inverse=True)
    files = [Path(source["images"]) / image for image in names]
    there = np.array([file.is_file() for file in files])
    missing = [str(file) for file, here in zip(files, there) if not here]
    if not missing:
        return listed, []
    if not source.get("skip_missing"):
        raise FrfwError(f"{name}: {list_missing(missing, len(files))}")
    kept = there[where.reshape(-1)]
    emptied = np.setdiff1d(listed.templates, listed.templates[kept])
    if emptied.size:
        raise FrfwError(
            f"{name}: {len(missing)} of {len(files)} images are missing, all of template "
            f"{emptied[0]} ({emptied.size} templates in all have no image left): its pairs cannot "
            "be scored; take the images, or lists without it"
        )
    note = f"{len(missing)} of {len(files)} images are missing"
    log.warning("%s: %s", name, note)
    return listed.select(kept), [note]


def _faces(
    name: str, names: NDArray[np.str_], source: Mapping[str, Any], detections: Path
) -> tuple[ImageList, NDArray[np.float64] | None]:
    """Return the (N,) named images and their detector scores, or None where they do not weigh."""
    files = [Path(source["images"]) / image for image in names]
    aligned, weighed = bool(source.get("aligned")), bool(source.get("detector_score", True))
    if aligned and not weighed:
        return ImageList(files, name), None
    listed, points, scores = read_detections(detections)
    order = np.argsort(listed)
    place = np.minimum(np.searchsorted(listed, names, sorter=order), listed.size - 1)
    found = order[place]
    wrong = np.flatnonzero(listed[found] != names)
    if wrong.size:
        raise FrfwError(f"{detections} has no line for {names[wrong[0]]}")
    images = ImageList(files, name) if aligned else LandmarkImages(files, points[found], name)
    return images, scores[found] if weighed else None
