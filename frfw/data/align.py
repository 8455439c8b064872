"""Align a whole source into a folder of crops, with the alignment in its manifest.

While it runs, `align.partial` in the folder says which job it is: no reader takes such a folder for
a data set, and the same job goes on with the images that have no crop yet.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from frfw.data.alignment import Alignment
from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage, decode, encode
from frfw.data.folder import FolderDataset
from frfw.data.landmarks import YuNet, read_landmarks
from frfw.data.list_file import ListDataset
from frfw.data.manifest import MANIFEST, UNFINISHED
from frfw.data.preprocessing import Preprocessing
from frfw.errors import FrfwError


@dataclass
class AlignResult:
    """Crops written, and (place, reason) of the images without one."""

    written: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)


def align_source(
    dataset: Dataset,
    out: str | Path,
    alignment: Alignment,
    landmarks: str | Path | None = None,
    detector: str | Path | None = None,
    progress: Callable[[int], object] = int,
) -> AlignResult:
    """Write `out/<identity>/<name>.jpg` (quality 95), and at the end `manifest.json`.

    A file of an image folder keeps its name below its identity; elsewhere the image's number is the
    name. Landmarks come from the list's own columns, else from a file, else from the detector.

    Raises:
        FrfwError: no source of landmarks, `out` is not empty (but for an interrupted run of the
            same job, which goes on), or no image could be aligned.
    """
    out = Path(out)
    if (
        out.exists()
        and not (out / UNFINISHED).is_file()
        and (not out.is_dir() or any(out.iterdir()))
    ):
        raise FrfwError(f"{out} is not empty: give another folder")
    find, source = _finder(dataset, landmarks, detector)
    alignment = replace(alignment, landmarks=source)
    _begin(out, _job(dataset, alignment, landmarks or detector))
    result = AlignResult()
    for index, target in enumerate(_targets(dataset)):
        try:
            if not _is_file(out / target):
                _align_one(dataset, index, find, alignment, out / target)
            result.written += 1
        except BadImage as error:
            result.left_out.append((dataset.locate(index), str(error)))
        progress(index + 1)
    if not result.written:
        (out / UNFINISHED).unlink()
        reason = result.left_out[0][1]
        raise FrfwError(f"no image of {dataset.name} could be aligned: {reason}")
    stated = Preprocessing(size=alignment.size, alignment=alignment.to_dict())
    text = json.dumps({"preprocessing": stated.to_dict()}, indent=1) + "\n"
    _write(out / MANIFEST, text.encode())
    (out / UNFINISHED).unlink()
    return result


def _job(dataset: Dataset, alignment: Alignment, points: str | Path | None) -> str:
    """What must be equal for an interrupted run to go on."""
    digest = hashlib.blake2b(Path(points).read_bytes(), digest_size=8).hexdigest() if points else ""
    return json.dumps([dataset.fingerprint, alignment.to_dict(), digest])


def _begin(out: Path, job: str) -> None:
    """Mark `out` as unfinished, or see that what is unfinished there is this very job."""
    marker = out / UNFINISHED
    if marker.is_file():
        if marker.read_text(encoding="utf-8", errors="replace") != job:
            raise FrfwError(
                f"{out} holds an unfinished alignment of other images, or with other settings: "
                f"repeat that command to finish it, or remove the folder"
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    _write(marker, job.encode())


def _align_one(
    dataset: Dataset,
    index: int,
    find: Callable[[int, np.ndarray], np.ndarray | None],
    alignment: Alignment,
    target: Path,
) -> None:
    image = decode(dataset.read(index))
    try:
        points = find(index, image)
        if points is None:
            raise BadImage("no landmarks for it")
        crop = alignment.warp(image, points)
    except FrfwError as error:
        raise BadImage(str(error)) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(target, encode(crop))


def _write(path: Path, data: bytes) -> None:
    """Write a file that is complete or not there."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def _is_file(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _targets(dataset: Dataset) -> Iterator[str]:
    """The crop of each image below `out`, a different one for each."""
    folders = _folder_names([str(name) for name in dataset.identity_names])
    taken = set()
    for index in range(len(dataset)):
        base, inner = dataset.origin(index)
        name = f"{index:08d}"
        if isinstance(base, FolderDataset):
            name = os.path.splitext(base.path(inner).split("/", 1)[1])[0]
        target = f"{folders[int(dataset.labels[index])]}/{name}.jpg"
        if target in taken:  # 1.png beside 1.jpg, or identities that were merged
            target = target.removesuffix(".jpg") + f"~{index:08d}.jpg"
        taken.add(target)
        yield target


def _finder(
    dataset: Dataset, landmarks: str | Path | None, detector: str | Path | None
) -> tuple[Callable[[int, np.ndarray], np.ndarray | None], str]:
    """Return (function of (index, image) giving the points, its name for the record)."""
    if landmarks:
        table = read_landmarks(landmarks)
        return lambda index, _: table.get(_relative(*dataset.origin(index))), "file"
    if _listed(*dataset.origin(0)) is not None:
        return lambda index, _: _listed(*dataset.origin(index)), "list"
    if detector:
        net = YuNet(detector)
        return lambda _, image: net(image), "yunet"
    raise FrfwError(
        "align needs landmarks: --landmarks FILE, or --detector ONNX (OpenCV's YuNet), or a list "
        "with the columns x1, y1 ... x5, y5"
    )


def _listed(dataset: Dataset, index: int) -> np.ndarray | None:
    """The landmarks in a list's own columns."""
    if isinstance(dataset, ListDataset) and dataset.landmarks is not None:
        return dataset.landmarks[index]
    return None


def _relative(dataset: Dataset, index: int) -> str:
    if isinstance(dataset, FolderDataset):
        return dataset.path(index)
    if isinstance(dataset, ListDataset):
        return os.path.relpath(dataset.locate(index), dataset.root).replace(os.sep, "/")
    raise FrfwError(f"{dataset.name} has no file names to find in a landmark file")


def _folder_names(identities: list[str]) -> list[str]:
    """Names of folders that stay inside `out`, a different one for each identity.

    They differ by more than upper and lower case, which some file systems do not tell apart.
    """
    names: dict[str, str] = {}
    for identity in identities:
        text = "".join("_" if c in '/\\:*?"<>|' or ord(c) < 32 else c for c in identity)
        safe = text.lstrip(".")[:200] or "_"
        name, count = safe, 1
        while name.lower() in names:
            count += 1
            name = f"{safe}~{count}"
        names[name.lower()] = name
    return list(names.values())
