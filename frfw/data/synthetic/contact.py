"""Contact sheets: many small pictures in one PNG, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from frfw.errors import FrfwError


def contact_sheet(rows: Sequence[Sequence[bytes]], size: int, gap: int = 2) -> np.ndarray:
    """Lay out encoded pictures; a row a person.

    Args:
        rows: JPEG or PNG bytes, rows may differ in length.
        size: side of a picture in pixels.
        gap: white pixels between pictures.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    step = size + gap
    columns = max((len(row) for row in rows), default=0)
    shape = (max(len(rows) * step - gap, 1), max(columns * step - gap, 1), 3)
    sheet = np.full(shape, 255, np.uint8)
    for r, row in enumerate(rows):
        for k, encoded in enumerate(row):
            picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
            place = sheet[r * step : r * step + size, k * step : k * step + size]
            place[:] = picture[..., ::-1]
    return sheet


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write a (height, width, 3) uint8 RGB picture as PNG."""
    if not cv2.imwrite(str(path), picture[..., ::-1]):
        raise FrfwError(f"{path} cannot be written: is its folder there and writable?")
