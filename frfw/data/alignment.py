"""Five-point alignment: a similarity transform to a template, and the record of how it was done."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from frfw.data.template import ARCFACE
from frfw.errors import FrfwError, nearest

TEMPLATES = {"arcface": ARCFACE}
INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}
BORDERS = {
    "black": cv2.BORDER_CONSTANT,
    "edge": cv2.BORDER_REPLICATE,
    "reflect": cv2.BORDER_REFLECT_101,
}


@dataclass(frozen=True)
class Alignment:
    """How crops are made from landmarks.

    Attributes:
        template: name in TEMPLATES, given for a 112-pixel crop and scaled to `size`.
        size: side of the crop.
        interpolation, border: names in INTERPOLATIONS and BORDERS.
        landmarks: where the five points come from (a detector or a file), for the record.
    """

    template: str = "arcface"
    size: int = 112
    interpolation: str = "linear"
    border: str = "black"
    landmarks: str = "unknown"

    def __post_init__(self) -> None:
        for value, choices, key in (
            (self.template, TEMPLATES, "template"),
            (self.interpolation, INTERPOLATIONS, "interpolation"),
            (self.border, BORDERS, "border"),
        ):
            if value not in choices:
                raise FrfwError(
                    f"alignment has no {key} {value!r}.{nearest(value, choices)} "
                    f"Choose {', '.join(choices)}"
                )
        if self.size < 8:
            raise FrfwError(f"alignment: a crop of {self.size} pixels is no face")

    def to_dict(self) -> dict[str, Any]:
        """Plain types, with the hash, for a manifest and a checkpoint."""
        return {**asdict(self), "hash": self.hash}

    @property
    def hash(self) -> str:
        """12 hex digits of all fields and of the template's coordinates."""
        points = TEMPLATES[self.template].tolist()
        text = json.dumps([asdict(self), points], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def target(self) -> np.ndarray:
        """Return (5, 2) template points (x, y) in a crop of `size`, pixel centres at integers."""
        scale = self.size / 112
        return (TEMPLATES[self.template] + 0.5) * scale - 0.5 if scale != 1 else ARCFACE.copy()

    def warp(self, image: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Crop uint8 RGB (H, W, 3) so that `points` (5, 2) fall on the template as well as can be.

        Raises:
            FrfwError: the points are no face (not finite, or all in one place).
        """
        matrix = similarity(np.asarray(points, np.float64), self.target())
        return cv2.warpAffine(
            image,
            matrix,
            (self.size, self.size),
            flags=INTERPOLATIONS[self.interpolation],
            borderMode=BORDERS[self.border],
        )

    def shown(self, height: int, width: int, points: np.ndarray) -> float:
        """Return the share of the crop that shows an image of this size; the rest is border."""
        cells = (np.arange(16) + 0.5) * self.size / 16 - 0.5
        grid = np.stack(np.meshgrid(cells, cells), -1).reshape(-1, 2)
        with np.errstate(all="ignore"):  # points that lie at 1e300 show nothing
            matrix = similarity(np.asarray(points, np.float64), self.target())
            turn, shift = matrix[:, :2], matrix[:, 2]
            where = (grid - shift) @ turn / np.linalg.det(turn)  # its inverse, up to the scale
        return float(((where >= -0.5) & (where < (width - 0.5, height - 0.5))).all(1).mean())


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the (2, 3) rotation, uniform scale and shift that takes source closest to target.

    Least squares over (N, 2) points (Umeyama, PAMI 1991), in the closed form for the plane.
    """
    if not np.isfinite(source).all():
        raise FrfwError("a landmark is not a finite number")
    mean_s, mean_t = source.mean(0), target.mean(0)
    s, t = source - mean_s, target - mean_t
    spread = (s**2).sum()
    if spread < 1e-6:
        raise FrfwError("the landmarks lie all in one place")
    a = (s * t).sum() / spread
    b = (s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]).sum() / spread
    turn = np.array([[a, -b], [b, a]])
    return np.hstack([turn, (mean_t - turn @ mean_s)[:, None]])
