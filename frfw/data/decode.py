"""Encoded bytes to uint8 RGB pixels; whatever is not a whole image raises BadImage."""

from __future__ import annotations

import cv2
import numpy as np
import simplejpeg

from frfw.errors import FrfwError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_THREE_COLOURS = ("YCbCr", "Gray", "RGB")  # those that libjpeg turns into RGB
_JPEG, _SCAN, _END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


class BadImage(FrfwError):
    """An image that cannot be decoded whole."""


def decode(data: bytes, size: int | None = None) -> np.ndarray:
    """Decode JPEG, PNG, BMP or WebP bytes.

    Args:
        size: side of the square to resize to when the image has another shape.

    Returns:
        uint8 RGB array (height, width, 3).

    Raises:
        BadImage: empty, cut off, or of no known format.
    """
    if not data:
        raise BadImage("the image is empty")
    if data[:2] == _JPEG and data.rfind(_END) <= data.find(_SCAN):
        # Decoders fill a cut-off JPEG with grey and carry on; in whole ones the end marker
        # comes after the start of the scan, and cannot occur inside the scan's coded data.
        raise BadImage("the JPEG is cut off: it has no end marker")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise BadImage(f"OpenCV cannot decode it: {error.err or error}") from error
    if image is None:
        raise BadImage("it cannot be decoded as JPEG, PNG, BMP, WebP or TIFF")
    return image if size is None else resize(image, size)


def decode_into(data: bytes, out: np.ndarray) -> None:
    """Decode to `out`, uint8 RGB (size, size, 3), contiguous; the pixels are those of `decode`.

    A JPEG of that very size, the common case, is written there without an image in between.

    Raises:
        BadImage: as `decode`.
    """
    # Only OpenCV turns images as their EXIF data says, which comes before the scan.
    scan = data.find(_SCAN)
    if data[:2] == _JPEG and data.rfind(_END) > scan and data.find(b"Exif", 0, scan) < 0:
        try:
            # Asked first: simplejpeg loses 4 KB with every image that is larger than its buffer.
            height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
            if (height, width, 3) == out.shape and colours in _THREE_COLOURS:
                simplejpeg.decode_jpeg(data, "RGB", buffer=out)
                return
        except ValueError:  # damaged: OpenCV has the word
            pass
    out[...] = decode(data, len(out))


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
