"""What a JPEG's bytes say before it is decoded, and what its decoder's warnings mean."""

from __future__ import annotations

import re

import simplejpeg

_START, _SCAN, _END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_BASELINE = b"\xff\xc0"  # height, width and the number of colours follow
_THREE_COLOURS = ("YCbCr", "Gray", "RGB")  # those that libjpeg turns into RGB
# libjpeg goes on after these, with grey bars or shifted blocks. What it says of JFIF revisions,
# Adobe markers, ICC profiles or the progression leaves the pixels alone.
_DAMAGE = re.compile(r"premature end|bad (Huffman|arithmetic) code|found marker", re.IGNORECASE)
_JUNK = re.compile(r"(\d+) extraneous bytes before marker 0x(\w+)")
_FEW = 4  # stray bytes at the end of a scan, as some cameras write them
_seen = b"no header yet", (0, 0, 0)  # a header and the shape that it states


def is_jpeg(data: bytes) -> bool:
    return data[:2] == _START


def is_cut_off(data: bytes) -> bool:
    """Whether a JPEG ends before its end marker.

    Decoders fill a cut-off JPEG with grey and carry on; in whole ones the end marker comes after
    the start of the scan, and cannot occur inside the scan's coded data.
    """
    return data.rfind(_END) <= data.find(_SCAN)


def baseline_shape(data: bytes) -> tuple[int, int, int] | None:
    """What `plain_shape` says of most files, in a tenth of the time; a guess for the others.

    The files of one writer begin alike, up to the scan: the last header is remembered.
    """
    global _seen
    header, shape = _seen
    if data.startswith(header):
        return shape
    scan = data.find(_SCAN)
    at = data.find(_BASELINE, 2, scan)
    if at < 0 or at + 9 > scan or data[at + 9] not in (1, 3) or data.find(b"Exif", 0, scan) >= 0:
        return None
    shape = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8], 3
    _seen = data[: scan + 2], shape
    return shape


def plain_shape(data: bytes) -> tuple[int, int, int] | None:
    """The shape of a JPEG that simplejpeg decodes to the pixels that OpenCV does, else None."""
    # Only OpenCV turns images as their EXIF data says, which comes before the scan.
    if data.find(b"Exif", 0, data.find(_SCAN)) >= 0:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return (height, width, 3) if colours in _THREE_COLOURS else None


def loses_pixels(warning: str, data: bytes) -> bool:
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
