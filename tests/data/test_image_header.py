"""Sides as headers state them, before any decoder makes room for the pixels."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from frfw.data.decode import BadImage, decode
from frfw.data.image_header import damaged_png_chunk, stated_pixels

KINDS = {
    "png": ("PNG", {}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "tiff deflated": ("TIFF", {"compression": "tiff_deflate"}),
    "webp lossy": ("WEBP", {"quality": 50}),
    "webp lossless": ("WEBP", {"lossless": True}),
    "webp extended": ("WEBP", {"quality": 50, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"}),
}


def written(kind: str, width: int, height: int) -> bytes:
    form, options = KINDS[kind]
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(1, 700), st.integers(1, 20))
def test_headers_of_whole_images(kind, width, height):
    data = written(kind, width, height)
    assert stated_pixels(data) == width * height
    assert decode(data).shape == (height, width, 3)


def bmp(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info + bytes(100)


def tiff(order: str, *entries: tuple[int, int, int]) -> bytes:
    """A directory of (tag, type, value)."""
    rows = b"".join(
        struct.pack(order + "HHI", tag, kind, 1)
        + (struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value))
        for tag, kind, value in entries
    )
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(order + "IH", 8, len(entries)) + rows + bytes(4)


HUGE = {
    "bmp": bmp(30000, 30000),
    "bmp from top to bottom": bmp(30000, -30000),
    "bmp of OS/2": b"BM" + struct.pack("<IHHIIHHHH", 26, 0, 0, 26, 12, 30000, 30000, 1, 24),
    "webp extended": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\xff\0\xff\xff\0",
    "tiff": tiff("<", (256, 3, 30000), (257, 3, 30000)),
    "tiff of other byte order": tiff(">", (256, 4, 30000), (257, 3, 30000)),
    "tiff's tiles": tiff("<", (256, 3, 9), (257, 3, 9), (322, 4, 30000), (323, 4, 30000)),
    "tiff of an odd type": tiff("<", (256, 16, 8), (257, 3, 1)),
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(">II", 30000, 30000) + bytes(40),
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_header_that_states_too_many_pixels(kind):
    with pytest.raises(BadImage, match="million pixels: its header is damaged"):
        decode(HUGE[kind])


@pytest.mark.parametrize("start", [b"GIF89a", b"P5 30000 30000 255\n", b"\0\0\0\x0cjP  \r\n", b"x"])
def test_formats_that_nobody_named_meet_no_decoder(start):
    with pytest.raises(BadImage, match="as JPEG, PNG, BMP, WebP or TIFF"):
        decode(start + bytes(200))


STARTS = [b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF....WEBP", b"RIFF....WEBPVP8X", b"RIFF....WEBPVP8L"]
STARTS += [b"II*\0", b"MM\0*", b"II*\0\x08\0\0\0\xff\xff", b""]


@given(st.sampled_from(STARTS), st.binary(max_size=80))
def test_any_bytes_have_some_number_of_pixels(start, rest):
    assert (stated_pixels(start + rest) or 0) >= 0
    damaged_png_chunk(start + rest)


@given(st.data())
def test_any_flipped_bit_of_a_png_is_found_without_a_word_on_the_terminal(data):
    png = bytearray(written("png", 20, 20))
    assert damaged_png_chunk(bytes(png)) is None
    at = data.draw(st.integers(16, len(png) - 14))  # behind the type of the first, before the last
    png[at] ^= 1 << data.draw(st.integers(0, 7))
    assert damaged_png_chunk(bytes(png)) is not None


@pytest.mark.parametrize("at", range(37, 41))
@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_of_a_chunks_type_is_found(at, bit):
    png = bytearray(written("png", 20, 20))
    assert png[37:41] == b"IDAT"
    png[at] ^= 1 << bit
    assert damaged_png_chunk(bytes(png)) is not None


@pytest.mark.parametrize("kind", [*KINDS, "text"])
def test_decoders_print_nothing(kind, capfd):
    """What OpenCV says has no name of a file, and would be a screenful for each."""
    data = bytearray(b"hello" if kind == "text" else written(kind, 40, 40))
    if kind != "text":
        data[len(data) // 3] ^= 0xFF
    for candidate in (data[: len(data) // 2], data):
        try:
            decode(bytes(candidate))
        except BadImage as error:
            assert str(error)
    assert capfd.readouterr().err == ""
