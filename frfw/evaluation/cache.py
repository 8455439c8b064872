"""Embeddings kept on disk, found again by model, images and the way they were made."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch.distributed as dist
from numpy.typing import NDArray

from frfw.evaluation.extraction import Extraction
from frfw.evaluation.images import ImageList

_NO_MATTER = ("batch_size", "workers", "progress")  # to what an embedding is

log = logging.getLogger("frfw.evaluation")


class EmbeddingCache:
    """A folder of `<key>.npy` files.

    The key is a hash of the model's weights, the images, the pre-processing, flip, precision and
    the kind of device; batch size and threads do not change embeddings beyond rounding.

    Args:
        folder: made when first written to.
        model: fingerprint of the weights.
        preprocessing: hash of the pre-processing.
    """

    def __init__(self, folder: str | Path, model: str, preprocessing: str) -> None:
        self.folder, self.model, self.preprocessing = Path(folder), model, preprocessing

    def path(self, images: ImageList, how: Extraction, extra: str = "") -> Path:
        """Return the file of these images' embeddings, whether or not it is there."""
        way = {key: value for key, value in asdict(how).items() if key not in _NO_MATTER}
        way["device"] = str(how.device).split(":")[0]
        key = [self.model, self.preprocessing, images.fingerprint, way, extra]
        text = json.dumps(key, sort_keys=True)
        return self.folder / f"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}.npy"

    def get(
        self,
        images: ImageList,
        how: Extraction,
        make: Callable[[], NDArray[np.float32]],
        extra: str = "",
    ) -> NDArray[np.float32]:
        """Return the kept embeddings, or what `make()` returns, which is then kept.

        With a process group up, rank 0 looks and writes, and all ranks take the same way.
        """
        path = self.path(images, how, extra)
        kept = _read(path, len(images)) if _rank() == 0 else None
        if _agreed(kept is not None):
            return _from_main(kept)
        made = make()
        if _rank() == 0:
            _write(path, made)
        return made


def _read(path: Path, count: int) -> NDArray[np.float32] | None:
    if not path.is_file():
        return None
    try:
        kept = np.load(path, allow_pickle=False)
        if kept.ndim == 2 and len(kept) == count:
            return kept
    except Exception:  # a damaged file raises nearly anything; an .npz has no dimensions
        pass
    log.warning("%s is damaged; it is made again", path)
    return None


def _write(path: Path, rows: NDArray[np.float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.partial")
    with temporary.open("wb") as file:
        np.save(file, rows)
    os.replace(temporary, path)


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _rank() -> int:
    return dist.get_rank() if _grouped() else 0


def _agreed(found: bool) -> bool:
    return bool(_from_main(found))


def _from_main(value: object) -> object:
    if not _grouped():
        return value
    box = [value if _rank() == 0 else None]
    dist.broadcast_object_list(box, src=0)
    return box[0]
