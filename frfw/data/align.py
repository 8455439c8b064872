"""Align a whole source into a folder of crops, with the alignment in its manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from frfw.data.alignment import Alignment
from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage, decode, encode
from frfw.data.folder import FolderDataset
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
    """Write `out/<identity>/<number>.jpg` (quality 95) and `manifest.json`, written last.

    Landmarks come from the list's own columns, else from a file, else from the detector.

    Raises:
        FrfwError: no source of landmarks, `out` is not empty, or no image could be aligned.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise FrfwError(f"{out} is not empty: give another folder")
    find, source = _finder(dataset, landmarks, detector)
    alignment = replace(alignment, landmarks=source)
    result = AlignResult()
    for index in range(len(dataset)):
        try:
            image = decode(dataset.read(index))
            points = find(index, image)
            if points is None:
                raise BadImage("no landmarks for it")
            crop = alignment.warp(image, points)
        except FrfwError as error:
            result.left_out.append((dataset.locate(index), str(error)))
            continue
        folder = out / _safe(str(dataset.identity_names[int(dataset.labels[index])]))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index:08d}.jpg").write_bytes(encode(crop))
        result.written += 1
        progress(index + 1)
    if not result.written:
        reason = result.left_out[0][1]
        raise FrfwError(f"no image of {dataset.name} could be aligned: {reason}")
    stated = Preprocessing(size=alignment.size, alignment=alignment.to_dict())
    temporary = out / (MANIFEST + ".partial")
    temporary.write_text(json.dumps({"preprocessing": stated.to_dict()}, indent=1) + "\n")
    os.replace(temporary, out / MANIFEST)
    return result


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


def _safe(identity: str) -> str:
    """An identity's name as a folder's name that stays inside `out`."""
    text = "".join("_" if c in '/\\:*?"<>|' or ord(c) < 32 else c for c in identity)
    return text.lstrip(".") or "_"
