"""Decoding into a batch, what it costs, and which JPEGs count as damaged."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from frfw.data.decode import BadImage, decode, decode_into

RNG = np.random.default_rng(0)
PICTURE = cv2.GaussianBlur(RNG.integers(0, 256, (112, 112, 3)).astype(np.uint8), (0, 0), 2)


def jpeg(*options: int) -> bytes:
    return cv2.imencode(".jpg", PICTURE, [cv2.IMWRITE_JPEG_QUALITY, 90, *options])[1].tobytes()


PLAIN = jpeg()
PROGRESSIVE = jpeg(cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
RESTARTS = jpeg(cv2.IMWRITE_JPEG_RST_INTERVAL, 4)
EXIF_TURN = bytes.fromhex(
    "ffe100224578696600004d4d002a00000008000101120003000000010006000000000000"
)
TURNED = PLAIN[:2] + EXIF_TURN + PLAIN[2:]
SCAN = PLAIN.find(b"\xff\xda") + 14
HALF = (SCAN + len(PLAIN)) // 2


def swap(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) >= 1
    return data.replace(old, new, 1)


DAMAGED = {
    "cut off, end marker put back": PLAIN[:HALF] + b"\xff\xd9",
    "cut off": PLAIN[:HALF],
    "cut off in its frame header": PLAIN[: PLAIN.find(b"\xff\xc0") + 5] + b"\xff\xda",
    "a hole": PLAIN[:HALF] + PLAIN[HALF + 300 :],
    "overwritten": PLAIN[:HALF] + b"\x55" * 300 + PLAIN[HALF + 300 :],
    "a progressive one cut off": PROGRESSIVE[: len(PROGRESSIVE) // 2] + b"\xff\xd9",
    "a progressive one with a hole": PROGRESSIVE[:1500] + PROGRESSIVE[1900:],
    "a turned one cut off": TURNED[: HALF + len(EXIF_TURN)] + b"\xff\xd9",
    "a restart marker lost": swap(RESTARTS, b"\xff\xd1", b"\x13\x57"),
}
HARMLESS = {
    "JFIF 2.01": swap(PLAIN, b"JFIF\x00\x01", b"JFIF\x00\x02"),
    "an Adobe marker of another kind": PLAIN[:2]
    + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"
    + PLAIN[2:],
    "zeros before the end": PLAIN[:-2] + b"\x00" * 300 + b"\xff\xd9",
    "two stray bytes before the end": PLAIN[:-2] + b"\x12\x34" + b"\xff\xd9",
    "bytes between the headers": PLAIN[:20] + b"stray bytes in between" + PLAIN[20:],
    "bytes after the end": PLAIN + b"a camera's preview" * 20,
    "progressive": PROGRESSIVE,
    "restarts": RESTARTS,
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_a_bad_image(kind):
    """OpenCV and Pillow alone show these with grey bars or shifted blocks."""
    out = np.zeros((112, 112, 3), np.uint8)
    with pytest.raises(BadImage, match="JPEG"):
        decode(DAMAGED[kind])
    with pytest.raises(BadImage, match="JPEG"):
        decode_into(DAMAGED[kind], out)


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_a_decoder_merely_remarks_on_is_no_damage(kind):
    out = np.zeros((112, 112, 3), np.uint8)
    decode_into(HARMLESS[kind], out)
    np.testing.assert_array_equal(decode(HARMLESS[kind]), out)
    near = np.abs(out.astype(int) - decode(PLAIN).astype(int)).max()
    assert near <= (0 if kind != "an Adobe marker of another kind" else 255)


@pytest.mark.parametrize(
    "data",
    [
        swap(PLAIN, b"\x08\x00\x70\x00\x70", b"\x08\x4f\xff\x4f\xff"),
        swap(
            cv2.imencode(".png", PICTURE)[1].tobytes(), bytes([0, 0, 0, 112]), bytes([9, 0, 0, 0])
        ),
    ],
)
def test_a_header_that_asks_for_gigabytes(data):
    with pytest.raises(BadImage, match=r"it says it has [\d,]+ million pixels"):
        decode(data)


def test_turned_as_the_exif_data_says():
    np.testing.assert_array_equal(decode(TURNED), np.rot90(decode(PLAIN), -1))


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
