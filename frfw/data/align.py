"""Align a whole source into a folder of crops, with the alignment in its manifest."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from frfw.data.alignment import Alignment
from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage, decode, encode
from frfw.data.folder import UNFINISHED, FolderDataset
from frfw.data.landmarks import YuNet, read_landmarks
from frfw.data.list_file import ListDataset
from frfw.data.manifest import MANIFEST
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
    """Write `out/<identity>/<number>.jpg` (quality 95) and `manifest.json`.

    Landmarks come from the list's own columns, else from a file, else from the detector. All is
    written to `out.partial`, which becomes `out` when it is complete; an interrupted run is gone
    on with by the same call.

    Raises:
        FrfwError: no source of landmarks, `out` is not empty, another call's `out.partial` is in
            the way, or no image could be aligned.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FrfwError(f"{out} is not empty: give another folder")
    find, source = _finder(dataset, landmarks, detector)
    alignment = replace(alignment, landmarks=source)
    partial = out.with_name(f"{out.name}.partial")
    points = Path(landmarks).read_bytes() if landmarks else b""
    digest = hashlib.blake2b(points, digest_size=8).hexdigest()
    _begin(partial, f"{dataset.fingerprint} {alignment.hash} {digest}")
    folders = _folders(dataset.identity_names)
    result = AlignResult()
    for index in range(len(dataset)):
        path = partial / folders[int(dataset.labels[index])] / f"{index:08d}.jpg"
        try:
            if not path.is_file():
                _write(path, _crop(dataset, index, alignment, find))
            result.written += 1
        except FrfwError as error:
            result.left_out.append((dataset.locate(index), str(error)))
        progress(index + 1)
    if not result.written:
        shutil.rmtree(partial)
        reason = result.left_out[0][1]
        raise FrfwError(f"no image of {dataset.name} could be aligned: {reason}")
    stated = Preprocessing(size=alignment.size, alignment=alignment.to_dict())
    (partial / MANIFEST).write_text(
        json.dumps({"preprocessing": stated.to_dict()}, indent=1) + "\n"
    )
    (partial / UNFINISHED).unlink()
    os.replace(partial, out)  # an empty `out` gives way
    return result


def _begin(partial: Path, job: str) -> None:
    """Make the partial folder, or go on with that of the same job."""
    partial.mkdir(parents=True, exist_ok=True)
    note = partial / UNFINISHED
    if note.is_file() and note.read_text() == job:
        return
    if any(partial.iterdir()):
        raise FrfwError(
            f"{partial} is left of another align (other images, landmarks or options): remove it"
        )
    note.write_text(job)


def _crop(
    dataset: Dataset,
    index: int,
    alignment: Alignment,
    find: Callable[[int, np.ndarray], np.ndarray | None],
) -> bytes:
    image = decode(dataset.read(index))
    points = find(index, image)
    if points is None:
        raise BadImage("no landmarks for it")
    return encode(alignment.warp(image, points))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".writing")
    temporary.write_bytes(data)
    os.replace(temporary, path)


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


def _folders(names: Sequence[str]) -> list[str]:
    """A folder's name for each identity, inside `out` and another for each."""
    found: list[str] = []
    taken: set[str] = set()
    for name in names:
        safe = stem = _safe(str(name))
        number = 1
        while safe.lower() in taken:  # also where a file system does not tell cases apart
            number += 1
            safe = f"{stem}~{number}"
        taken.add(safe.lower())
        found.append(safe)
    return found


def _safe(identity: str) -> str:
    """An identity's name as a folder's name that stays inside `out`."""
    text = "".join("_" if c in '/\\:*?"<>|' or ord(c) < 32 else c for c in identity)
    return text.lstrip(".") or "_"
