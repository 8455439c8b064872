"""Five landmarks of an image: files that list them, and OpenCV's YuNet detector."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from frfw.data.decode import IMAGE_SUFFIXES
from frfw.data.layouts.common import read_lines
from frfw.data.list_file import LANDMARKS
from frfw.errors import FrfwError


def read_landmarks(path: str | Path) -> dict[str, np.ndarray]:
    """Read {relative path of the image: (5, 2) float64 (x, y)}.

    Either a CSV with the columns path, x1, y1 ... x5, y5, or text lines `path [label] x1 y1 ...
    x5 y5` as the landmark lists of LFW and CASIA-WebFace have them. Points are left eye, right
    eye, nose, left and right mouth corner, as seen in the image. The path of a text line is all
    that stands before the last ten numbers, but for a number that follows the name of an image
    file, or another number: that is a label.

    Raises:
        FrfwError: the file cannot be read, or a line or column is not as described.
    """
    path = Path(path)
    found = _read_csv(path) if path.suffix.lower() == ".csv" else _read_text(path)
    if not found:
        raise FrfwError(f"{path} lists no landmarks")
    return found


def plain_path(path: str) -> str:
    """A path below a data set as landmark files and data sets both write it."""
    return path.replace("\\", "/").removeprefix("./")


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    try:
        table = pd.read_csv(path, dtype={"path": str})
        points = table[LANDMARKS].to_numpy(np.float64).reshape(-1, 5, 2)
        names = table["path"]
    except FileNotFoundError as error:
        raise FrfwError(f"{path} is missing: it should hold the landmarks") from error
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise FrfwError(f"{path} lacks path, x1, y1 ... x5, y5: {error}") from error
    wrong = np.flatnonzero(~np.isfinite(points).all((1, 2)) | names.isna().to_numpy())
    if len(wrong):
        raise FrfwError(f"{path}, row {wrong[0] + 1}: a path or a landmark is missing")
    return dict(zip(map(plain_path, names), points))


def _read_text(path: Path) -> dict[str, np.ndarray]:
    found = {}
    for at, line in enumerate(read_lines(path), 1):
        words = line.rsplit(maxsplit=10)
        if not words:
            continue
        try:
            numbers = [float(word) for word in words[1:]]
        except ValueError:
            numbers = []
        if len(numbers) != 10 or not np.isfinite(numbers).all():
            raise FrfwError(f"{path}, line {at}: it should say `path x1 y1 ... x5 y5`")
        found[plain_path(_without_label(words[0].strip()))] = np.array(numbers).reshape(5, 2)
    return found


def _without_label(text: str) -> str:
    path, _, last = text.rpartition(" " if "\t" not in text else "\t")
    path = path.rstrip()
    is_name = os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES or path.isdigit()
    return path if is_name and _is_number(last) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
