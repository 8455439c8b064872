"""Align a whole source into a folder of crops, with the alignment in its manifest.

While it runs, `align.partial` in the folder says which job it is: no reader takes such a folder for
a data set, and the same job goes on with the images that have no crop yet.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from frfw.data.align_names import crop_paths
from frfw.data.alignment import Alignment
from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage, decode, encode
from frfw.data.landmark_sources import Find, choose_landmarks
from frfw.data.manifest import MANIFEST, UNFINISHED
from frfw.data.output import LOCK, only_writer, refuse_source
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

    Landmarks come from the file or from the detector, where one is given, else from the columns of
    each image's own list. An image whose crop would show less of it than of the border is left out.

    Raises:
        FrfwError: no source of landmarks, `out` is not empty (but for an interrupted run of the
            same job, which goes on), lies in the source or is being written by another run, or no
            image could be aligned.
    """
    out = Path(out)
    refuse_source(dataset, out)
    _check_free(out)  # before a long landmark file is read
    find, source = choose_landmarks(dataset, landmarks, detector)
    alignment = replace(alignment, landmarks=source)
    job = _job(dataset, alignment, landmarks or detector)
    with only_writer(out, "align"):
        return _align(dataset, out, alignment, find, job, progress)


def _align(
    dataset: Dataset,
    out: Path,
    alignment: Alignment,
    find: Find,
    job: str,
    progress: Callable[[int], object],
) -> AlignResult:
    _begin(out, job)
    result = AlignResult()
    for index, target in enumerate(crop_paths(dataset)):
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
    _check_free(out)
    _write(marker, job.encode())


def _check_free(out: Path) -> None:
    """Refuse a folder with anything in it but an unfinished alignment."""
    if not out.is_dir() or (out / UNFINISHED).is_file():
        return
    if any(path.name != LOCK for path in out.iterdir()):
        raise FrfwError(f"{out} is not empty: give another folder")


def _align_one(
    dataset: Dataset, index: int, find: Find, alignment: Alignment, target: Path
) -> None:
    image = decode(dataset.read(index))
    try:
        points = find(index, image)
        _check_shown(alignment, image, points)
        crop = alignment.warp(image, points)
    except FrfwError as error:
        raise BadImage(str(error)) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(target, encode(crop))


def _check_shown(alignment: Alignment, image: np.ndarray, points: np.ndarray) -> None:
    """Refuse landmarks of another image, or in another unit: their crop would be all border.

    A face at the edge of its picture passes as long as its middle is on it.
    """
    height, width = image.shape[:2]
    if alignment.shown(height, width, points) < 0.5:
        x, y = np.mean(points, 0)
        raise BadImage(
            f"its landmarks, around ({x:.6g}, {y:.6g}), are not in the image of {width}x{height}: "
            f"more than half of the crop would be border"
        )


def _write(path: Path, data: bytes) -> None:
    """Write a file that is complete or not there."""
    temporary = path.with_name(".writing.partial")  # one run at a time writes here
    temporary.write_bytes(data)
    os.replace(temporary, path)


def _is_file(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
