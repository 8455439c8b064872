"""Faces cut out by five given points, as IJB-B and IJB-C publish them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from frfw.data.decode import decode
from frfw.data.template import ARCFACE
from frfw.errors import FrfwError
from frfw.evaluation.images import ImageList


def similarity(points: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the (2, 3) similarity that brings `points` nearest to `target` by least squares.

    Without reflection (Umeyama, PAMI 1991); in the plane, with points as complex numbers, that is
    one division.

    Args:
        points, target: (N, 2) x, y.

    Raises:
        FrfwError: all points are the same.
    """
    w, z = (p[:, 0] + 1j * p[:, 1] for p in (np.asarray(points, float), np.asarray(target, float)))
    centred = w - w.mean()
    spread = np.sum(np.abs(centred) ** 2)
    if not spread > 0:
        raise FrfwError("its landmarks are all the same point")
    turn = np.sum(np.conj(centred) * (z - z.mean())) / spread
    move = z.mean() - turn * w.mean()
    return np.array([[turn.real, -turn.imag, move.real], [turn.imag, turn.real, move.imag]])


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
            matrix = similarity(self.points[index], ARCFACE * (size / 112))
            image = decode(self.data(index))
        except FrfwError as error:
            raise FrfwError(f"{self.locate(index)}: {error}") from error
        return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR)

    @property
    def fingerprint(self) -> str:
        digest = hashlib.blake2b(super().fingerprint.encode(), digest_size=8)
        digest.update(np.ascontiguousarray(self.points, np.float64).tobytes())
        return digest.hexdigest()
