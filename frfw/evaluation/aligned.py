"""Faces cut out by five given points, as IJB-B and IJB-C publish them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frfw.data.alignment import Alignment
from frfw.data.decode import decode
from frfw.errors import FrfwError
from frfw.evaluation.images import ImageList


class LandmarkImages(ImageList):
    """Images with five points each (eyes, nose, mouth corners), warped to the ArcFace template.

    Args:
        paths: M files.
        points: (M, 5, 2) x, y in pixels of the files.
        where: said in messages.
    """

    def __init__(self, paths: Sequence[Path], points: NDArray[np.floating], where: str) -> None:
        super().__init__(paths, where)
        self.points = points

    def read(self, index: int, size: int = 112) -> NDArray[np.uint8]:
        """Return face `index` as (size, size, 3) uint8 RGB; black where the image ends."""
        try:
            return Alignment(size=size).warp(decode(self.data(index)), self.points[index])
        except FrfwError as error:
            raise FrfwError(f"{self.locate(index)}: {error}") from error

    @property
    def fingerprint(self) -> str:
        digest = hashlib.blake2b(super().fingerprint.encode(), digest_size=8)
        digest.update(np.ascontiguousarray(self.points, np.float64).tobytes())
        return digest.hexdigest()
