"""The images of a pair set: encoded files or bytes, decoded when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frfw.data.decode import BadImage, decode
from frfw.errors import FrfwError


class ImageList:
    """M images, each a file or the encoded bytes themselves.

    Args:
        items: paths or bytes (JPEG, PNG, BMP, WebP).
        where: said in messages about a bad image.
        numbers: what each is called in its pack; by default its place in `items`.
    """

    def __init__(
        self,
        items: Sequence[Path | bytes],
        where: str,
        numbers: NDArray[np.int64] | None = None,
    ) -> None:
        self.items, self.where, self.numbers = items, where, numbers

    def __len__(self) -> int:
        return len(self.items)

    def locate(self, index: int) -> str:
        """Say which image this is, for messages."""
        item = self.items[index]
        if isinstance(item, Path):
            return str(item)
        if self.numbers is None:
            return f"{self.where}, image {index}"
        number = int(self.numbers[index])
        return f"{self.where}, image {number} (of pair {number // 2}, both counted from 0)"

    def subset(self, chosen: Sequence[int] | NDArray[np.integer]) -> ImageList:
        """Return the images at these places, in their order, with the names they have here."""
        numbers = None if self.numbers is None else self.numbers[np.asarray(chosen)]
        return ImageList([self.items[i] for i in chosen], self.where, numbers)

    def data(self, index: int) -> bytes:
        """Return the encoded bytes of image `index`."""
        item = self.items[index]
        if not isinstance(item, Path):
            return item
        try:
            return item.read_bytes()
        except OSError as error:
            raise FrfwError(f"{item} cannot be read: {error.strerror}") from error

    def read(self, index: int, size: int = 112) -> NDArray[np.uint8]:
        """Return image `index` as (size, size, 3) uint8 RGB.

        Raises:
            FrfwError: it cannot be read or decoded whole; it is named.
        """
        try:
            return decode(self.data(index), size)
        except BadImage as error:
            raise FrfwError(f"{self.locate(index)}: {error}") from error

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self.read(index)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with any image: content of bytes, name, size, time of files."""
        digest = hashlib.blake2b(digest_size=8)
        for item in self.items:
            if isinstance(item, Path):
                stat = item.stat()
                digest.update(f"{item}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
            else:
                digest.update(hashlib.blake2b(item, digest_size=16).digest())
        return digest.hexdigest()


def of_pack(images: Sequence[bytes], where: str) -> tuple[ImageList, NDArray[np.int64]]:
    """Return the distinct images of a verification pack and, for each image, its place among them.

    A pack holds an image once for every pair that it is in; each is embedded once, and is called
    by where it comes first: image 2 i or 2 i + 1 is in pair i.
    """
    places: dict[bytes, int] = {}
    place = np.array([places.setdefault(image, len(places)) for image in images], np.int64)
    first = np.unique(place, return_index=True)[1]
    return ImageList(list(places), where, first), place
