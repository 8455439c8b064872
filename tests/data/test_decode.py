"""Decoding into a batch gives the pixels of plain decoding, and costs no memory."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from frfw.data.decode import BadImage, decode, decode_into

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)


def encoded(kind: str) -> bytes:
    if kind in ("png", "webp"):
        return cv2.imencode(f".{kind}", PIXELS)[1].tobytes()
    buffer = io.BytesIO()
    mode = {"gray": "L", "cmyk": "CMYK"}.get(kind, "RGB")
    Image.fromarray(PIXELS).convert(mode).save(buffer, "JPEG", progressive=kind == "progressive")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "gray", "cmyk", "png", "webp"])
@pytest.mark.parametrize("size", [24, 40, 64])
def test_the_pixels_are_those_of_decode(kind, size):
    out = np.zeros((size, size, 3), np.uint8)
    decode_into(encoded(kind), out)
    np.testing.assert_array_equal(out, decode(encoded(kind), size))


def test_a_damaged_image_is_bad():
    out = np.zeros((40, 40, 3), np.uint8)
    data = encoded("jpeg")
    for damaged in (data[: len(data) // 2], data[:2] + b"\0" * 50, b"", b"no image"):
        with pytest.raises(BadImage):
            decode_into(damaged, out)


@pytest.mark.parametrize("size", [24, 40, 64])
def test_nothing_is_lost_image_by_image(size):
    """A decoder that is given too small a buffer may never free its own: a run's slow death."""
    data, out = encoded("jpeg"), np.zeros((size, size, 3), np.uint8)
    pages = Path("/proc/self/statm")
    if not pages.exists():
        pytest.skip("needs /proc")
    for _ in range(200):
        decode_into(data, out)
    before = int(pages.read_text().split()[1])
    for _ in range(3000):
        decode_into(data, out)
    assert (int(pages.read_text().split()[1]) - before) * 4096 < 3 * 2**20  # 1 KB an image


def test_damaged_pixels_are_bad_and_padding_is_not():
    """OpenCV fills what is missing with grey and says nothing."""
    pixels = cv2.GaussianBlur(np.kron(PIXELS, np.ones((3, 3, 1), np.uint8)), (0, 0), 3)
    data = cv2.imencode(".jpg", pixels)[1].tobytes()
    scan = data.find(b"\xff\xda") + 12
    middle = (scan + len(data)) // 2
    with pytest.raises(BadImage, match=r"damaged.*premature end"):
        decode(data[:middle] + b"\xff\xd9")  # as some downloads are "repaired"
    rng, told = np.random.default_rng(0), 0
    for _ in range(60):
        changed = bytearray(data)
        at = int(rng.integers(scan, len(data) - 20))
        changed[at : at + 16] = bytes(16)
        try:
            decode(bytes(changed))
        except BadImage as error:
            told += "damaged" in str(error)
    assert told > 10  # not all: coded pixels can be wrong and well-formed
    padded = data[:-2] + b"\0\0\0" + data[-2:]
    np.testing.assert_array_equal(decode(padded), decode(data))
