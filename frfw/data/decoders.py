"""The decoders that frfw's was chosen from, each from a JPEG's bytes to pixels, to be measured."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import simplejpeg
import torch

from frfw.data.decode import decode_into

Decoder = Callable[[bytes], object]


class Into:
    """frfw's decoder as the loader calls it: into one row of a batch after another."""

    def __init__(self, size: int, batch: int = 128) -> None:
        self.batch, self.at = np.zeros((batch, size, size, 3), np.uint8), 0

    def __call__(self, data: bytes) -> None:
        self.at = (self.at + 1) % len(self.batch)
        decode_into(data, self.batch[self.at])


def candidates(size: int) -> tuple[dict[str, Decoder], dict[str, str]]:
    """Return the decoders by name, and why others cannot be used here.

    Args:
        size: side of the images in pixels.
    """
    from PIL import Image
    from torchvision.io import decode_jpeg

    found: dict[str, Decoder] = {
        "frfw, into a batch": Into(size),
        "simplejpeg": lambda d: simplejpeg.decode_jpeg(d, "RGB"),
        "OpenCV": lambda d: cv2.imdecode(np.frombuffer(d, np.uint8), cv2.IMREAD_COLOR_RGB),
        "torchvision.io": lambda d: decode_jpeg(_tensor(d)),
        "Pillow": lambda d: np.asarray(Image.open(io.BytesIO(d)).convert("RGB")),
    }
    try:
        from torchcodec.decoders import decode_image
    except ImportError:
        return found, {"torchcodec": "not installed (`pip install torchcodec`, to measure it)"}
    except Exception as error:  # it loads libraries of its own, which may not fit
        return found, {"torchcodec": f"cannot be used: {str(error).splitlines()[0][:100]}"}
    return found | {"torchcodec": lambda d: decode_image(_tensor(d))}, {}


def usable(decoders: dict[str, Decoder], sample: Sequence[bytes]) -> dict[str, Decoder]:
    """Return those that take these images: a set may hold PNGs, which not every one reads."""
    kept = {}
    for name, decoder in decoders.items():
        try:
            for data in sample:
                decoder(data)
        except Exception:  # each has errors of its own
            continue
        kept[name] = decoder
    return kept


def _tensor(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
