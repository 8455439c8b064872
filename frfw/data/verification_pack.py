"""Verification packs (`lfw.bin`, `cfp_fp.bin`, ...): pairs of encoded images with same/different.

The layout of insightface's `.bin` files: a pickled tuple (images, same), 2 P encoded images where
pair i is images 2 i and 2 i + 1, and P bools. Folds are contiguous tenths of the pairs.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frfw.data.dataset import Dataset
from frfw.data.preprocessing import Preprocessing
from frfw.data.safe_pickle import load
from frfw.errors import FrfwError


@dataclass
class VerificationPack:
    """Pairs of a `.bin` file.

    Attributes:
        images: 2 P encoded images; pair i is images 2 i and 2 i + 1.
        same: (P,) bool.
    """

    images: list[bytes]
    same: np.ndarray


class PackImages(Dataset):
    """The images of a pack as a data set in which nobody says who they are: each stands alone."""

    def __init__(self, path: str | Path, size: int) -> None:
        self.path, self.name, self.size = Path(path), Path(path).stem, size
        self._images = read_pack(path).images
        self.labels = np.arange(len(self._images))
        self.identity_names = [f"image {number}" for number in self.labels]
        self.preprocessing = Preprocessing(size=size)

    def read(self, index: int) -> bytes:
        return self._images[index]

    def locate(self, index: int) -> str:
        return f"{self.path} image {index}"


def read_pack(path: str | Path) -> VerificationPack:
    """Read a `.bin` pickled by Python 2 or 3; nothing in it is executed.

    Raises:
        FrfwError: no such file, not such a pack, an odd number of images, or a number of bools
            that does not fit.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        value = load(content, str(path))
    except OSError as error:
        raise FrfwError(f"{path} cannot be read: {error.strerror}") from error
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise FrfwError(f"{path} is no verification pack: it should hold (images, same)")
    images = _images(_items(value[0], path), path, len(content))
    same = np.array([_flag(item, path) for item in _items(value[1], path)], bool)
    if len(images) % 2:
        raise FrfwError(
            f"{path} holds {len(images)} images, an odd number: pairs need two each; "
            f"make the pack again"
        )
    if not images or len(images) != 2 * len(same):
        raise FrfwError(f"{path} holds {len(images)} images but {len(same)} same/different flags")
    return VerificationPack(images, same)


def write_pack(path: str | Path, images: Sequence[bytes], same: Sequence[bool]) -> None:
    """Write a `.bin` that insightface's tools read too, complete or not at all.

    Args:
        images: 2 P encoded images; pair i is images 2 i and 2 i + 1.
        same: P bools.
    """
    path = Path(path)
    if not len(same) or len(images) != 2 * len(same):
        raise FrfwError(f"{path}: {len(images)} images do not make {len(same)} pairs")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    content = ([bytes(image) for image in images], [bool(flag) for flag in same])
    with temporary.open("wb") as file:
        pickle.dump(content, file, protocol=4)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _items(value: Any, path: Path) -> Any:
    if isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim >= 1):
        return value
    raise FrfwError(f"{path} is no verification pack: it should hold two lists")


def _images(items: Any, path: Path, room: int) -> list[bytes]:
    """Return them as bytes; an array that occurs again, as in a hostile pack, is copied once.

    Args:
        room: bytes of the file, which all that differ fit into.
    """
    copies: dict[int, tuple[np.ndarray, bytes]] = {}  # by id, of arrays that are kept alive here
    images = []
    for number, item in enumerate(items):
        if isinstance(item, np.ndarray) and item.dtype.itemsize == 1:
            if id(item) not in copies:
                room -= item.nbytes
                if room < 0:
                    raise FrfwError(f"{path} holds more bytes of images than it has: it is damaged")
                copies[id(item)] = item, item.tobytes()
            images.append(copies[id(item)][1])
        elif isinstance(item, bytes):
            images.append(item)
        else:
            raise FrfwError(f"{path}: image {number} is no encoded image")
    return images


def _flag(item: Any, path: Path) -> bool:
    if isinstance(item, bool | int | np.bool_ | np.integer) and int(item) in (0, 1):
        return bool(item)
    raise FrfwError(f"{path}: its same/different flags are not bools")
