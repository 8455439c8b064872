"""Encoded bytes to uint8 RGB pixels; whatever is not a whole image raises BadImage."""

from __future__ import annotations

import re

import cv2
import numpy as np
import simplejpeg

from frfw.errors import FrfwError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
# libjpeg's warnings that coded pixels are missing or wrong. A few bytes left over before the end
# marker are some writers' padding; many mean that the decoder lost its place.
_DAMAGE = re.compile(
    r"premature end of data|bad Huffman code|(?P<left>\d+) extraneous bytes before marker 0xd9"
)
_TOO_MUCH_LEFT = 16
_THREE_COLOURS = ("YCbCr", "Gray", "RGB")  # those that libjpeg turns into RGB
_BASELINE = b"\xff\xc0"  # height, width and the number of colours follow
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
        BadImage: empty, cut off, damaged where it can be told, or of no known format.
    """
    if not data:
        raise BadImage("the image is empty")
    _refuse_cut_off(data)
    shape = _plain_jpeg(data)
    image = _decode_jpeg(data, np.empty(shape, np.uint8)) if shape else None
    if image is None:
        image = _opencv(data)
    return image if size is None else resize(image, size)


def decode_into(data: bytes, out: np.ndarray) -> None:
    """Decode to `out`, uint8 RGB (size, size, 3), contiguous; the pixels are those of `decode`.

    A JPEG of that very size, the common case, is written there without an image in between.

    Raises:
        BadImage: as `decode`.
    """
    if data[:2] == _JPEG and (out.shape == _baseline_shape(data) or out.shape == _plain_jpeg(data)):
        _refuse_cut_off(data)
        if _decode_jpeg(data, out) is not None:
            return
    out[...] = decode(data, len(out))


def _refuse_cut_off(data: bytes) -> None:
    # Decoders fill a cut-off JPEG with grey and carry on; in whole ones the end marker comes
    # after the start of the scan, and cannot occur inside the scan's coded data.
    if data[:2] == _JPEG and data.rfind(_END) <= data.find(_SCAN):
        raise BadImage("the JPEG is cut off: it has no end marker")


def _baseline_shape(data: bytes) -> tuple[int, int, int] | None:
    """What `_plain_jpeg` says of most files, in a tenth of the time; a guess for the others."""
    scan = data.find(_SCAN)
    at = data.find(_BASELINE, 2, scan)
    if at < 0 or data[at + 9] not in (1, 3) or data.find(b"Exif", 0, scan) >= 0:
        return None
    return data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8], 3


def _plain_jpeg(data: bytes) -> tuple[int, int, int] | None:
    """The shape of a JPEG that simplejpeg decodes to the pixels that OpenCV does, else None."""
    if data[:2] != _JPEG:
        return None
    # Only OpenCV turns images as their EXIF data says, which comes before the scan.
    if data.find(b"Exif", 0, data.find(_SCAN)) >= 0:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return (height, width, 3) if colours in _THREE_COLOURS else None


def _decode_jpeg(data: bytes, out: np.ndarray) -> np.ndarray | None:
    """Decode to `out`, which has the image's shape (in a smaller one simplejpeg loses memory).

    Returns:
        `out`; None where the decoder warns of what OpenCV passes over: that has the word then.

    Raises:
        BadImage: the coded pixels are damaged; OpenCV would fill them with grey.
    """
    try:
        return simplejpeg.decode_jpeg(data, "RGB", buffer=out)
    except ValueError as error:
        found = _DAMAGE.search(str(error))
        if found and int(found["left"] or _TOO_MUCH_LEFT) >= _TOO_MUCH_LEFT:
            raise BadImage(f"the JPEG is damaged: {error}") from error
        return None


def _opencv(data: bytes) -> np.ndarray:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise BadImage(f"OpenCV cannot decode it: {error.err or error}") from error
    if image is None:
        raise BadImage("it cannot be decoded as JPEG, PNG, BMP, WebP or TIFF")
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
