"""MXNet RecordIO training sets, read and written without MXNet."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from frfw.data.dataset import contiguous
from frfw.data.decode import BadImage
from frfw.data.index_cache import Arrays, IndexedDataset
from frfw.data.manifest import MANIFEST, read_entry, read_manifest
from frfw.data.preprocessing import Preprocessing
from frfw.data.record_index import read_index
from frfw.data.record_writer import RecordWriter
from frfw.data.recordio_format import parse_payload, unframe, whole_image
from frfw.errors import FrfwError

__all__ = ["RecordDataset", "RecordWriter"]

_LARGEST = 1 << 29  # bytes of a record: its length has 29 bits, headers and parts come on top


class RecordDataset(IndexedDataset):
    """The images of `train.rec`, given the folder or the `.rec` file itself.

    Labels are read from the records (the first number of an array label) and renumbered 0..C-1
    where numbers are missing. MXNet's header and identity records are recognised and left out.

    Raises:
        FrfwError: what `record_index.read_index` raises; a label beyond the classes that the
            header record or `property` announces; another number of images than the manifest
            states; fewer than two images.
    """

    def __init__(self, path: str | Path, size: int | None = None) -> None:
        path = Path(path)
        self._rec = path if path.suffix == ".rec" else path / "train.rec"
        folder = self._rec.parent
        self.name = folder.name
        declared = _property(folder / "property")
        files = [self._rec, self._rec.with_suffix(".idx")]
        self.open_index(self._rec.stem, files, lambda: iter(self._read_index(declared).items()))
        if len(self.labels) < 2:
            raise FrfwError(f"{self._rec} holds {len(self.labels)} images: nothing to train on")
        if declared and declared[0] > len(self.arrays["values"]):
            missing = declared[0] - len(self.arrays["values"])
            self.notes = [f"{missing} of {declared[0]} identities in property have no image"]
        names = self._stated(folder)
        values = self.arrays["values"].tolist()
        self.identity_names = [str(names[v]) if v < len(names) else str(v) for v in values]
        stated = read_manifest(folder)
        self.preprocessing = stated or Preprocessing(size=declared[1] if declared else 112)
        self.size = size or self.preprocessing.size
        self._file: tuple[int, int] | None = None  # (process id, descriptor), opened on first use

    def _stated(self, folder: Path) -> list[Any]:
        """Return the manifest's names of the identities; its number of images must fit."""
        images = read_entry(folder, "images", int)
        if images not in (None, len(self.labels)) and self._rec.name == "train.rec":
            raise FrfwError(
                f"{self._rec} holds {len(self.labels)} images, but {folder / MANIFEST} says "
                f"{images}: files of another set, or cut off; copy or pack it again"
            )
        return read_entry(folder, "identity_names", list) or []

    def _read_index(self, declared: tuple[int, int] | None) -> Arrays:
        index = read_index(self._rec, self._rec.with_suffix(".idx"))
        self._check_classes(index.labels, index.keys, index.classes, declared)
        labels, values = contiguous(index.labels)
        places = {"starts": index.starts, "ends": index.ends, "keys": index.keys}
        return {"labels": labels, "values": values} | places

    def _check_classes(
        self,
        labels: np.ndarray,
        keys: np.ndarray,
        announced: int | None,
        declared: tuple[int, int] | None,
    ) -> None:
        for classes, source in ((announced, "its header record"), (declared, "property")):
            if classes is None:
                continue
            count = classes[0] if isinstance(classes, tuple) else classes
            beyond = np.flatnonzero(labels >= count)
            if len(beyond):
                at = beyond[0]
                raise FrfwError(
                    f"{self._rec}: record {keys[at]} has label {labels[at]}, but {source} "
                    f"announces {count} identities (0..{count - 1})"
                )

    def read(self, index: int) -> bytes:
        start, end = self.arrays["starts"].item(index), self.arrays["ends"].item(index)
        if not 0 <= end - start <= _LARGEST or start < 0:
            raise BadImage(
                f"its index is damaged (bytes {start} to {end}): remove {self.cache.folder}"
            )
        try:
            data = os.pread(self._descriptor(), end - start, start)
            image = whole_image(data)
            if image is not None:
                return image
            payload, _ = unframe(data, f"byte {start}")
            return parse_payload(payload, f"byte {start}").image
        except OSError as error:
            raise BadImage(f"it cannot be read: {error.strerror}") from error
        except BadImage:
            raise
        except FrfwError as error:
            raise BadImage(str(error)) from error

    def locate(self, index: int) -> str:
        return f"{self._rec} record {self.arrays['keys'][index]}"

    def _descriptor(self) -> int:
        if self._file is None or self._file[0] != os.getpid():
            self._file = (os.getpid(), os.open(self._rec, os.O_RDONLY))
        return self._file[1]

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "_file": None}

    def __del__(self) -> None:
        file = getattr(self, "_file", None)
        if file is not None and file[0] == os.getpid():
            os.close(file[1])

    def _content_digest(self) -> bytes:
        digest = hashlib.blake2b(str(os.path.getsize(self._rec)).encode())
        digest.update(np.ascontiguousarray(self.arrays["starts"]))
        return digest.digest()


def _property(path: Path) -> tuple[int, int] | None:
    """Return (identities, size) of a `property` file: `identities,height,width`."""
    try:
        numbers = [int(part) for part in path.read_text(encoding="ascii").strip().split(",")]
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FrfwError(f"{path} is not `identities,height,width`: repair or remove it") from error
    if len(numbers) != 3 or min(numbers) < 1:
        raise FrfwError(f"{path} is not `identities,height,width`: repair or remove it")
    return numbers[0], numbers[1]
