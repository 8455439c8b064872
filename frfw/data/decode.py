"""Encoded bytes to uint8 RGB pixels; whatever is not a whole image raises BadImage."""

from __future__ import annotations

import os

import cv2
import numpy as np
import simplejpeg

from frfw.data.image_header import damaged_png_chunk, stated_pixels
from frfw.data.jpeg import baseline_shape, is_cut_off, is_jpeg, loses_pixels, plain_shape
from frfw.errors import FrfwError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_UNKNOWN = "it cannot be decoded as JPEG, PNG, BMP, WebP or TIFF"
_MAX_PIXELS = 1 << 28  # a face is smaller; damaged headers may say 65535 x 65535

# OpenCV prints what it finds wrong, without the name of the file; BadImage says it with the name.
if "OPENCV_LOG_LEVEL" not in os.environ:
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class BadImage(FrfwError):
    """An image that cannot be decoded whole."""


def decode(data: bytes, size: int | None = None) -> np.ndarray:
    """Decode JPEG, PNG, BMP, WebP or TIFF bytes.

    Args:
        size: side of the square to resize to when the image has another shape.

    Returns:
        uint8 RGB array (height, width, 3).

    Raises:
        BadImage: empty, cut off, damaged so that pixels are lost, or of no known format. A changed
            bit that leaves a JPEG's code valid cannot be told from a picture.
    """
    if not data:
        raise BadImage("the image is empty")
    image = _decode_jpeg(data) if is_jpeg(data) else None
    if image is None:
        image = _opencv(data)
    return image if size is None else resize(image, size)


def decode_into(data: bytes, out: np.ndarray) -> None:
    """Decode to `out`, uint8 RGB (size, size, 3), contiguous; the pixels are those of `decode`.

    A JPEG of that very size, the common case, is written there without an image in between.

    Raises:
        BadImage: as `decode`.
    """
    fits = is_jpeg(data) and (out.shape == baseline_shape(data) or out.shape == plain_shape(data))
    if not fits or _simplejpeg(data, out) is None:
        out[...] = decode(data, len(out))


def _refuse_cut_off(data: bytes) -> None:
    if is_cut_off(data):
        raise BadImage("the JPEG is cut off: it has no end marker")


def _refuse_huge(pixels: int) -> None:
    if pixels > _MAX_PIXELS:
        raise BadImage(
            f"it says it has {pixels / 1e6:,.0f} million pixels: its header is damaged, or it is "
            "larger than any face"
        )


def _decode_jpeg(data: bytes) -> np.ndarray | None:
    """Return a JPEG's pixels, or None where only OpenCV knows them: turned ones, CMYK."""
    _refuse_cut_off(data)
    shape = plain_shape(data)
    if shape is not None:
        _refuse_huge(shape[0] * shape[1])
        return _simplejpeg(data, np.empty(shape, np.uint8))
    try:
        height, width = simplejpeg.decode_jpeg_header(data)[:2]
        _refuse_huge(height * width)
        simplejpeg.decode_jpeg(data, "GRAY", min_factor=8)  # at an eighth, damage shows as well
    except ValueError as error:
        _refuse_damage(error, data)
    return None


def _simplejpeg(data: bytes, out: np.ndarray) -> np.ndarray | None:
    """Decode to `out`, which has the image's shape (in a smaller one simplejpeg loses memory).

    Returns:
        `out`; None where the decoder warns of what OpenCV passes over: that has the word then.

    Raises:
        BadImage: the coded pixels are damaged; OpenCV would fill them with grey.
    """
    try:
        return simplejpeg.decode_jpeg(data, "RGB", buffer=out)
    except ValueError as error:
        _refuse_damage(error, data)
        return None


def _refuse_damage(error: ValueError, data: bytes) -> None:
    if isinstance(error, BadImage):
        raise error
    _refuse_cut_off(data)
    if loses_pixels(str(error), data):
        raise BadImage(f"the JPEG is damaged: {error}") from error


def _check_header(data: bytes) -> None:
    """Refuse what OpenCV would make too much room for, or read as a format that nobody named.

    It knows a dozen more, by their first bytes: the fewer decoders meet strangers' files the
    better.
    """
    pixels = stated_pixels(data)
    if pixels is None:
        raise BadImage(_UNKNOWN)
    _refuse_huge(pixels)
    chunk = damaged_png_chunk(data) if data[:4] == b"\x89PNG" else None
    if chunk is not None:
        raise BadImage(f"the PNG is damaged: its chunk {chunk} does not match its checksum")


def _opencv(data: bytes) -> np.ndarray:
    if not is_jpeg(data):
        _check_header(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise BadImage(f"OpenCV cannot decode it: {error.err or error}") from error
    if image is None:
        raise BadImage(_UNKNOWN)
    return image


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resize (H, W, 3) to (size, size, 3): area averaging downwards, linear upwards."""
    height, width = image.shape[:2]
    if height == size and width == size:
        return image
    shrinks = height > size or width > size
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (size, size), interpolation=method)


def encode(image: np.ndarray, suffix: str = ".jpg", quality: int = 95) -> bytes:
    """Encode uint8 RGB (H, W, 3) as JPEG of `quality`, or losslessly as `.png`."""
    params = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix in (".jpg", ".jpeg") else []
    done, data = cv2.imencode(suffix, np.ascontiguousarray(image[..., ::-1]), params)
    if not done:
        raise FrfwError(f"cannot encode an array of shape {image.shape} as {suffix}")
    return data.tobytes()
