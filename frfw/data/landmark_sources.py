"""Which five landmarks belong to an image: by its name in a file, by its list, or detected."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage
from frfw.data.folder import FolderDataset
from frfw.data.landmarks import YuNet, plain_path, read_landmarks
from frfw.data.list_file import ListDataset
from frfw.data.recordio import RecordDataset
from frfw.data.tar_shards import TarDataset
from frfw.errors import FrfwError

# (image number, its uint8 RGB pixels) -> (5, 2) points; BadImage where there are none.
Find = Callable[[int, np.ndarray], np.ndarray]


def choose_landmarks(
    dataset: Dataset, file: str | Path | None = None, detector: str | Path | None = None
) -> tuple[Find, str]:
    """Return where the landmarks of each image come from, and its name for the record.

    A file or a detector that is given serves all images; without one it is the columns of each
    image's own list.

    Raises:
        FrfwError: both are given, what is given cannot be read, or there is nothing.
    """
    if file and detector:
        raise FrfwError("landmarks come from a file or from a detector: give one of the two")
    if file:
        return _from_file(dataset, Path(file)), "file"
    if detector:
        return _detected(YuNet(detector)), "yunet"
    if any(_columns(dataset, index) is not None for index in range(len(dataset))):
        return _from_lists(dataset), "list"
    raise FrfwError(
        "align needs landmarks: --landmarks FILE, or --detector ONNX (OpenCV's YuNet), or a list "
        "with the columns x1, y1 ... x5, y5"
    )


def _from_file(dataset: Dataset, file: Path) -> Find:
    table = read_landmarks(file)
    example = next(iter(table))

    def find(index: int, image: np.ndarray) -> np.ndarray:
        name = _name(*dataset.origin(index))
        if name not in table:
            raise BadImage(f"no landmarks for it: {file} has no {name!r} (it has {example!r}, ...)")
        return table[name]

    return find


def _name(dataset: Dataset, index: int) -> str:
    """What a landmark file calls an image."""
    if isinstance(dataset, FolderDataset):
        return plain_path(dataset.path(index))
    if isinstance(dataset, ListDataset):
        return plain_path(os.path.relpath(dataset.locate(index), dataset.root))
    if isinstance(dataset, TarDataset):
        shard = dataset.shards[dataset.arrays["shard"][index]]
        return plain_path(dataset.locate(index).removeprefix(f"{shard}:"))
    if isinstance(dataset, RecordDataset):
        return str(dataset.arrays["keys"][index])
    raise FrfwError(f"{dataset.name} has no names to find in a landmark file")


def _detected(net: YuNet) -> Find:
    def find(index: int, image: np.ndarray) -> np.ndarray:
        points = net(image)
        if points is None:
            raise BadImage("no face was found in it")
        return points

    return find


def _from_lists(dataset: Dataset) -> Find:
    def find(index: int, image: np.ndarray) -> np.ndarray:
        points = _columns(dataset, index)
        if points is None or np.isnan(points).any():
            raise BadImage("no landmarks for it: its own list states none")
        return points

    return find


def _columns(dataset: Dataset, index: int) -> np.ndarray | None:
    base, inner = dataset.origin(index)
    if isinstance(base, ListDataset) and base.landmarks is not None:
        return base.landmarks[inner]
    return None
