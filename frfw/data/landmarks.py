"""Where five landmarks come from: a file, or OpenCV's YuNet detector."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from frfw.data.layouts.common import read_lines
from frfw.data.list_file import LANDMARKS
from frfw.errors import FrfwError


def read_landmarks(path: str | Path) -> dict[str, np.ndarray]:
    """Read {relative path of the image: (5, 2) float64 (x, y)}.

    Either a CSV with the columns path, x1, y1 ... x5, y5, or text lines `path [label] x1 y1 ...
    x5 y5` as the landmark lists of LFW and CASIA-WebFace have them. Points are left eye, right
    eye, nose, left and right mouth corner, as seen in the image.

    Raises:
        FrfwError: a line or column is not as described.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        try:
            table = pd.read_csv(path, dtype={"path": str})
            points = table[LANDMARKS].to_numpy(np.float64).reshape(-1, 5, 2)
            names = table["path"].str.replace("\\", "/")
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise FrfwError(f"{path} lacks path, x1, y1 ... x5, y5: {error}") from error
        wrong = np.flatnonzero(~np.isfinite(points).all((1, 2)) | names.isna().to_numpy())
        if len(wrong):
            raise FrfwError(f"{path}, row {wrong[0] + 1}: a path or a landmark is missing")
        return dict(zip(names, points))
    found = {}
    for at, line in enumerate(read_lines(path), 1):
        words = line.split()
        if not words:
            continue
        try:
            numbers = [float(word) for word in words[-10:]]
        except ValueError:
            numbers = []
        if len(words) not in (11, 12) or len(numbers) != 10 or not np.isfinite(numbers).all():
            raise FrfwError(f"{path}, line {at}: it should say `path x1 y1 ... x5 y5`")
        found[words[0].replace("\\", "/")] = np.array(numbers).reshape(5, 2)
    if not found:
        raise FrfwError(f"{path} lists no landmarks")
    return found


class YuNet:
    """OpenCV's YuNet face detector (Wu et al., Machine Intelligence Research 2023).

    Args:
        path: its ONNX file, to be had from the OpenCV model zoo.

    Raises:
        FrfwError: the file is missing or no such model.
    """

    def __init__(self, path: str | Path, threshold: float = 0.6) -> None:
        if not Path(path).is_file():
            raise FrfwError(f"{path} is missing: give YuNet's ONNX file (OpenCV model zoo)")
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), threshold)
        except cv2.error as error:
            raise FrfwError(f"{path} is no YuNet model that OpenCV can load") from error

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        """Return (5, 2) points of the face that is largest and most central, or None.

        Args:
            image: uint8 RGB (H, W, 3).
        """
        height, width = image.shape[:2]
        self._net.setInputSize((width, height))
        _, faces = self._net.detect(np.ascontiguousarray(image[..., ::-1]))
        if faces is None or not len(faces):
            return None
        centre = faces[:, :2] + faces[:, 2:4] / 2
        away = np.hypot(*((centre - (width / 2, height / 2)) / (width, height)).T)
        best = faces[np.argmax(faces[:, 2] * faces[:, 3] * (1 - np.minimum(away, 0.9)))]
        return best[4:14].reshape(5, 2).astype(np.float64)
