"""Encoded bytes to uint8 RGB pixels; whatever is not a whole image raises BadImage."""

from __future__ import annotations

import re

import cv2
import numpy as np
import simplejpeg

from frfw.errors import FrfwError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_JPEG, _SCAN, _END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_PNG = b"\x89PNG"
_MAX_PIXELS = 1 << 28  # a face is smaller; damaged headers may say 65535 x 65535
# libjpeg goes on after these, with grey bars or shifted blocks. What it says of JFIF revisions,
# Adobe markers, ICC profiles or the progression leaves the pixels alone.
_DAMAGE = re.compile(r"premature end|bad (Huffman|arithmetic) code|found marker", re.IGNORECASE)
_JUNK = re.compile(r"(\d+) extraneous bytes before marker 0x(\w+)")
_FEW = 4  # stray bytes at the end of a scan, as some cameras write them


class BadImage(FrfwError):
    """An image that cannot be decoded whole."""


def decode(data: bytes, size: int | None = None) -> np.ndarray:
    """Decode JPEG, PNG, BMP or WebP bytes.

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
    image = _decode_jpeg(data) if data[:2] == _JPEG else _decode_any(data)
    return image if size is None else resize(image, size)


def _decode_jpeg(data: bytes) -> np.ndarray:
    scan = data.find(_SCAN)
    if data.rfind(_END) <= scan:
        # Decoders fill a cut-off JPEG with grey and carry on; in whole ones the end marker
        # comes after the start of the scan, and cannot occur inside the scan's coded data.
        raise BadImage("the JPEG is cut off: it has no end marker")
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        _refuse_huge(width, height)
        if data.find(b"Exif", 0, scan) < 0:
            return simplejpeg.decode_jpeg(data, "RGB")
        # Only OpenCV turns images as their EXIF data says; at an eighth, damage shows as well.
        simplejpeg.decode_jpeg(data, "GRAY", min_factor=8)
    except ValueError as error:  # CMYK, a warning, or damage
        if isinstance(error, BadImage):
            raise
        if _damages(str(error), data):
            raise BadImage(f"the JPEG is damaged: {error}") from error
    return _decode_any(data)


def _damages(warning: str, data: bytes) -> bool:
    """Whether what libjpeg says of a JPEG means that pixels are lost.

    Bytes that are left over at the end of a scan mean that the decoder lost its way, unless they
    are few or padding; before the scan they cost nothing.
    """
    junk = _JUNK.search(warning)
    if junk is None:
        return _DAMAGE.search(warning) is not None
    count, marker = int(junk[1]), int(junk[2], 16)
    if marker == _END[1]:
        end = data.rfind(_END)
        return count > _FEW and len(set(data[end - count : end])) > 1
    in_scan = 0xD0 <= marker <= 0xD7  # a restart marker
    return in_scan or data.find(_SCAN) != data.rfind(_SCAN)  # between scans, if progressive


def _refuse_huge(width: int, height: int) -> None:
    if height * width > _MAX_PIXELS:
        raise BadImage(f"it says it has {width}x{height} pixels: its header is damaged")


def _decode_any(data: bytes) -> np.ndarray:
    if data[:4] == _PNG:
        _refuse_huge(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise BadImage(f"OpenCV cannot decode it: {error.err or error}") from error
    if image is None:
        raise BadImage("it cannot be decoded as JPEG, PNG, BMP, WebP or TIFF")
    return image


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
            if simplejpeg.decode_jpeg(data, "RGB", buffer=out).shape == out.shape:
                return
        except ValueError:  # larger than `out`, CMYK, or damaged: `decode` has the word
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
