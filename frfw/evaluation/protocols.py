"""Sets that are no pair lists: identification from folders or lists, and IJB-B / IJB-C."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frfw.data.layouts.common import list_missing
from frfw.errors import FrfwError, nearest
from frfw.evaluation import templates
from frfw.evaluation.aligned import LandmarkImages
from frfw.evaluation.cache import EmbeddingCache
from frfw.evaluation.extraction import Embed, Extraction, Stop, extract
from frfw.evaluation.identification import IdentificationResult, identify, read_people
from frfw.evaluation.images import ImageList
from frfw.evaluation.stream import StreamResult
from frfw.evaluation.table import percent, text_table

Rows = Callable[[ImageList, bool], NDArray[np.float32]]  # images, normalised? -> embeddings

log = logging.getLogger("frfw.evaluation")

_IDENTIFICATION = ("kind", "gallery", "probe", "ranks", "fpir", "rank", "skip_missing")
_TEMPLATES = (
    *("kind", "images", "aligned", "meta", "prefix"),
    *("media_pooling", "detector_score", "keep_norm"),
    *("galleries", "probe", "fpir", "rank", "skip_missing"),
)


@dataclass
class ProtocolResult:
    """Figures of one such set.

    Attributes:
        name: of the set; kind: "identification" or "templates".
        verification: 1:1 figures of templates, or None.
        identification: by gallery.
        ranks: to show.
    """

    name: str
    kind: str
    verification: StreamResult | None = None
    identification: dict[str, IdentificationResult] = field(default_factory=dict)
    ranks: tuple[int, ...] = (1, 5, 10)

    def figures(self) -> dict[str, float]:
        """Return the figures that a table or a curve shows, by name.

        1:1: `auc`, `eer`, `tar_at_far_<FAR>`; 1:N: `rank_<k>`, `tpir_at_fpir_<FPIR>`, with the
        gallery's name before them (`G1_rank_1`) where there are several. What too few impostors
        or probes leave unknown is left out.
        """
        known: dict[str, float | None] = {}
        if self.verification:
            one = self.verification
            known |= {"auc": one.auc, "eer": one.eer}
            known |= {f"tar_at_far_{p.target:g}": p.tar for p in one.operating_points}
        for gallery, found in self.identification.items():
            prefix = f"{gallery}_" if len(self.identification) > 1 else ""
            known |= {f"{prefix}rank_{k}": found.rank_rate(k) for k in self.ranks}
            for point in found.operating_points:
                known[f"{prefix}tpir_at_fpir_{point.target:g}"] = point.tar
        return {name: float(value) for name, value in known.items() if value is not None}

    def save(self, folder: str | Path) -> Path:
        """Write `<name>.json`; return its path."""
        path = Path(folder) / f"{self.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_dict(), indent=1) + "\n")
        return path

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, fit for JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "ranks": list(self.ranks),
            "figures": self.figures(),
            "verification": self.verification.to_dict() if self.verification else None,
            "identification": {k: r.to_dict() for k, r in self.identification.items()},
        }


def open_protocols(sets: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the sets that are no pair lists and whose files are there.

    One whose files are missing is passed over with a warning, unless it is the only set.

    Args:
        sets: by name, all that `evaluation.sets` holds; pair sets among them are left out.

    Raises:
        FrfwError: an unknown kind or key, a key that must be given, or the only set is missing.
    """
    wanted = {
        name: dict(source)
        for name, source in sets.items()
        if isinstance(source, Mapping) and source.get("kind", "pairs") != "pairs"
    }
    there = {}
    for name, source in wanted.items():
        _check_keys(name, source)
        gone = [str(source[k]) for k in _places(source) if not Path(str(source[k])).exists()]
        if gone and len(sets) > 1:
            log.warning("evaluation set %s is skipped: %s does not exist", name, gone[0])
        elif gone:
            raise FrfwError(f"evaluation set {name}: {gone[0]} does not exist")
        else:
            there[name] = source
    return there


def _places(source: Mapping[str, Any]) -> tuple[str, ...]:
    return ("gallery", "probe") if source["kind"] == "identification" else ("images", "meta")


def _check_keys(name: str, source: Mapping[str, Any]) -> None:
    kind = str(source.get("kind"))
    known = {"identification": _IDENTIFICATION, "templates": _TEMPLATES}
    if kind not in known:
        kinds = ["pairs", *known]
        raise FrfwError(f"{name}: kind={kind}: choose {', '.join(kinds)}.{nearest(kind, kinds)}")
    for key in source:
        if key not in known[kind]:
            raise FrfwError(f"{name}: a set of {kind} has no {key!r}.{nearest(key, known[kind])}")
    for key in (*_places(source), *(("prefix",) if kind == "templates" else ())):
        if not source.get(key):
            told = ": a folder or a CSV" if kind == "identification" else ""
            raise FrfwError(f"{name}: evaluation.sets.{name}.{key} is not set{told}")


def score_protocol(
    embed: Embed,
    name: str,
    source: Mapping[str, Any],
    how: Extraction,
    cache: EmbeddingCache | None = None,
    stop: Stop | None = None,
) -> ProtocolResult:
    """Score one set of `kind` identification or templates; call it on every rank.

    Raises:
        Stopped: `stop`, which is asked between batches, said so.
        FrfwError: another kind, an unknown key, a missing file, images that cannot be read.
    """
    _check_keys(name, source)
    score = _identification if source["kind"] == "identification" else _templates

    def rows(files: ImageList, normalise: bool) -> NDArray[np.float32]:
        def make() -> NDArray[np.float32]:
            return extract(embed, files, how, normalise=normalise, stop=stop)

        return (
            cache.get(files, how, make, "" if normalise else "not normalised") if cache else make()
        )

    return score(rows, name, source)


def _identification(embed: Rows, name: str, source: Mapping[str, Any]) -> ProtocolResult:
    sides = []
    for key in ("gallery", "probe"):
        sides.append(read_people(source[key], bool(source.get("skip_missing"))))
    (enrolled, who), (asked, whose) = sides
    both = {file.resolve() for file in enrolled} & {file.resolve() for file in asked}
    if both:
        raise FrfwError(
            f"{name}: {len(both)} images are in the gallery and among the probes, e.g. "
            f"{min(map(str, both))}: a search would find the very image"
        )
    files = ImageList([*enrolled, *asked], name)
    rows = embed(files, True)
    result = identify(
        rows[: len(enrolled)], who, rows[len(enrolled) :], whose, name=name, **_open_set(source)
    )
    ranks = tuple(int(k) for k in source.get("ranks") or (1, 5, 10))
    return ProtocolResult(name, "identification", None, {"gallery": result}, ranks)


def _templates(embed: Rows, name: str, source: Mapping[str, Any]) -> ProtocolResult:
    meta, prefix = Path(source["meta"]), source["prefix"]
    listed = templates.read_media(meta / f"{prefix}_face_tid_mid.txt")
    listed = _without_missing(name, listed, source)
    names, where = np.unique(listed.names, return_inverse=True)
    images, weights = _faces(name, names, source, meta / f"{prefix}_name_5pts_score.txt")
    rows = embed(images, False)
    bank = templates.pool_templates(
        rows[where],
        listed,
        detector_scores=None if weights is None else weights[where],
        keep_norm=bool(source.get("keep_norm", True)),
        media_pooling=bool(source.get("media_pooling", True)),
    )
    found = ProtocolResult(name, "templates")
    pairs = meta / f"{prefix}_template_pair_label.txt"
    if pairs.is_file():
        found.verification = templates.verify_templates(bank, pairs, name=name)
    found.identification = _one_to_many(bank, meta, prefix, source)
    if not found.verification and not found.identification:
        raise FrfwError(f"{name}: {meta} holds neither {pairs.name} nor galleries and probes")
    return found


def _one_to_many(
    bank: templates.Templates, meta: Path, prefix: str, source: Mapping[str, Any]
) -> dict[str, IdentificationResult]:
    """Search the probes in each gallery that there is; FPIR comes from those not enrolled in it."""
    probes = meta / f"{prefix}_1N_probe_{source.get('probe') or 'mixed'}.csv"
    results = {}
    for gallery in source.get("galleries") or ():
        path = meta / f"{prefix}_1N_gallery_{gallery}.csv"
        if path.is_file() and probes.is_file():
            own, who = templates.read_subjects(path)
            asked, whose = templates.read_subjects(probes)
            results[gallery] = identify(
                bank.features[bank.rows(own, str(path))],
                who,
                bank.features[bank.rows(asked, str(probes))],
                whose,
                name=f"{prefix} {gallery}",
                **_open_set(source),
            )
    return results


def _open_set(source: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {"rank": source.get("rank")}
    if source.get("fpir"):
        options["fpir_targets"] = tuple(float(f) for f in source["fpir"])
    return options


def _without_missing(
    name: str, listed: templates.Media, source: Mapping[str, Any]
) -> templates.Media:
    """Return the media whose images are there; a template must keep one of its images."""
    names, where = np.unique(listed.names, return_inverse=True)
    files = [Path(source["images"]) / image for image in names]
    there = np.array([file.is_file() for file in files])
    missing = [str(file) for file, here in zip(files, there) if not here]
    if not missing:
        return listed
    if not source.get("skip_missing"):
        raise FrfwError(f"{name}: {list_missing(missing, len(files))}")
    kept = there[where]
    emptied = np.setdiff1d(listed.templates, listed.templates[kept])
    if emptied.size:
        raise FrfwError(
            f"{name}: {len(missing)} of {len(files)} images are missing, all of template "
            f"{emptied[0]} ({emptied.size} templates in all have no image left): its pairs cannot "
            "be scored; take the images, or lists without it"
        )
    log.warning("%s: %d of %d images are missing", name, len(missing), len(files))
    return templates.Media(listed.names[kept], listed.templates[kept], listed.media[kept])


def _faces(
    name: str, names: NDArray[np.str_], source: Mapping[str, Any], detections: Path
) -> tuple[ImageList, NDArray[np.float64] | None]:
    """Return the (N,) named images and their detector scores, or None where they do not weigh."""
    files = [Path(source["images"]) / image for image in names]
    aligned, weighed = bool(source.get("aligned")), bool(source.get("detector_score", True))
    if aligned and not weighed:
        return ImageList(files, name), None
    listed, points, scores = templates.read_detections(detections)
    order = np.argsort(listed)
    place = np.minimum(np.searchsorted(listed, names, sorter=order), listed.size - 1)
    found = order[place]
    wrong = np.flatnonzero(listed[found] != names)
    if wrong.size:
        raise FrfwError(f"{detections} has no line for {names[wrong[0]]}")
    images = ImageList(files, name) if aligned else LandmarkImages(files, points[found], name)
    return images, scores[found] if weighed else None


def protocol_table(result: ProtocolResult) -> str:
    """Return the figures as text: 1:1 TAR at FAR, then a row a gallery."""
    parts, notes = [], []
    if result.verification:
        one = result.verification
        known = [p for p in one.operating_points if p.tar is not None]
        head = [result.name, "same", "different", "AUC", "EER"]
        row = ["1:1", f"{one.genuine_count:,}", f"{one.impostor_count:,}"]
        row += [percent(one.auc), percent(one.eer), *(percent(p.tar) for p in known)]
        parts.append(text_table([[*head, *(f"TAR@{p.target:g}" for p in known)], row]))
        notes += [p.note for p in one.operating_points if p.note]
    if result.identification:
        points = next(iter(result.identification.values())).operating_points
        head = [f"{result.name} 1:N", "identities", "mated", "nonmated"]
        head += [f"rank-{k}" for k in result.ranks] + [f"TPIR@{p.target:g}" for p in points]
        rows = [head]
        for gallery, found in result.identification.items():
            row = [gallery, *(f"{n:,}" for n in (found.identities, found.mated, found.nonmated))]
            row += [percent(found.rank_rate(k)) for k in result.ranks]
            rows.append([*row, *(percent(p.tar) for p in found.operating_points)])
            notes += [f"{gallery}: {p.note}" for p in found.operating_points if p.note]
        parts.append(text_table(rows))
    return "\n\n".join(parts) + "".join(f"\n{note}" for note in dict.fromkeys(notes))
