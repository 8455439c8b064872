"""The five-point template, and how far a mean face is from it."""

from __future__ import annotations

import cv2
import numpy as np

# Left eye, right eye, nose, left and right mouth corner, (x, y) in a 112-pixel crop: the template
# that ArcFace made common, which is SphereFace's 96x112 one moved by 8 pixels.
ARCFACE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
POINTS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
_REACH = 14


def face_offsets(mean_face: np.ndarray) -> tuple[dict[str, tuple[float, float]], float]:
    """Find eyes and mouth of a mean face as dark spots near where the template has them.

    Args:
        mean_face: (112, 112, 3) RGB.

    Returns:
        (dx, dy) in pixels from the template for left eye, right eye and mouth, and the contrast of
        the eyes in grey levels (near 0 where the faces are not aligned at all).
    """
    grey = cv2.cvtColor(mean_face.astype(np.float32), cv2.COLOR_RGB2GRAY)
    relief = cv2.GaussianBlur(grey, (0, 0), 2) - cv2.GaussianBlur(grey, (0, 0), 9)
    offsets, depth = {}, []
    for name, (x, y) in (("left eye", ARCFACE[0]), ("right eye", ARCFACE[1])):
        left, top = round(x) - _REACH, round(y) - _REACH
        window = relief[top : top + 2 * _REACH + 1, left : left + 2 * _REACH + 1]
        row, column = np.unravel_index(np.argmin(window), window.shape)
        offsets[name] = (float(left + column - x), float(top + row - y))
        depth.append(float(np.median(window) - window.min()))
    # A mouth is a dark line: only its height can be told.
    left, right = np.rint(ARCFACE[3:, 0]).astype(int)
    y = float(ARCFACE[3:, 1].mean())
    top = round(y) - _REACH
    rows = relief[top : top + 2 * _REACH + 1, left : right + 1].mean(1)
    offsets["mouth"] = (0.0, float(top + np.argmin(rows) - y))
    return offsets, min(depth)
