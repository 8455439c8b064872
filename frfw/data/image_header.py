"""What the headers of PNG, BMP, WebP and TIFF say, read before a decoder makes room for it.

A few bytes may state 30000 x 30000 pixels, for which decoders take gigabytes before they notice
that the rest is missing.
"""

from __future__ import annotations

import struct
import zlib

_PNG = b"\x89PNG"
_TIFF = {b"II*\0": "<", b"MM\0*": ">"}  # their byte order
_TIFF_SIDES = (256, 257, 322, 323)  # width, height; of a tile: width, height
_TIFF_TYPES = {3: "H2x", 4: "I"}  # those that sides are stored as
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


def stated_pixels(data: bytes) -> int | None:
    """Return how many pixels an image's header states, None of no PNG, BMP, WebP or TIFF.

    A header that is cut off or damaged states 0 pixels; the decoder says what is wrong with it.
    """
    try:
        if data[:4] == _PNG:
            width, height = struct.unpack_from(">II", data, 16)
        elif data[:2] == b"BM":
            width, height = _bmp(data)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            width, height = _webp(data)
        elif data[:4] in _TIFF:
            return _tiff(data, _TIFF[data[:4]])
        else:
            return None
    except struct.error:
        return 0
    return abs(width * height)


def _bmp(data: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    old = header == 12  # of OS/2
    return struct.unpack_from("<HH" if old else "<ii", data, 18)  # negative: from top to bottom


def _webp(data: bytes) -> tuple[int, int]:
    """Of the first chunk: an extended header, a lossless image or a lossy one."""
    kind = data[12:16]
    if kind == b"VP8X":
        low_width, high_width, low_height, high_height = struct.unpack_from("<HBHB", data, 24)
        return (high_width << 16 | low_width) + 1, (high_height << 16 | low_height) + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _tiff(data: bytes, order: str) -> int:
    """Of the first image or its tiles, whichever is larger: either is made room for."""
    sides = dict.fromkeys(_TIFF_SIDES, 0)
    (at,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, at)
    for entry in range(at + 2, min(at + 2 + 12 * entries, len(data) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in sides:  # of a type that no writer uses: too many, whatever it says
            form = _TIFF_TYPES.get(kind)
            side = struct.unpack_from(order + form, data, entry + 8)[0] if form else 1 << 32
            sides[tag] = max(sides[tag], side)
    width, height, tile_width, tile_height = sides.values()
    return max(width * height, tile_width * tile_height)


def damaged_png_chunk(data: bytes) -> str | None:
    """Return the type of a PNG's first chunk with pixels, palette or header that is not whole.

    libpng would print that, without the name of the file, past every log.
    """
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        # Decoders take no notice of others, whose type begins with a small letter: unless the
        # letter is what is damaged.
        other = kind.isalpha() and kind[:1].islower() and kind.upper() not in _PNG_CHUNKS
        if not other and zlib.crc32(data[at + 4 : end]).to_bytes(4, "big") != data[end : end + 4]:
            return repr(kind.decode("latin-1"))
        if kind == b"IEND":
            return None
        at = end + 4
    return None
