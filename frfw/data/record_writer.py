"""Write a training set as MXNet RecordIO, record by record, complete or not there at all."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from frfw.data.manifest import MANIFEST, read_entries
from frfw.data.output import make_folder
from frfw.data.preprocessing import Preprocessing
from frfw.data.recordio_format import pack_record
from frfw.errors import FrfwError


class RecordWriter:
    """Stream images into `folder/train.rec`, `train.idx`, `property`, as insightface lays them out.

    Records 1..N are the images with a scalar label, N+1..N+C one an identity with its index range
    [first, last + 1), and record 0 the header [N+1, N+1+C]. Everything goes to `*.partial` files;
    `close` completes them and renames them into place, `train.idx` last, so a folder with a
    `train.idx` is complete. Leaving a `with` block through an exception removes the partial files.

    Args:
        folder: made if missing; may hold other files, but no `train.rec` or `train.idx` unless
            `overwrite`. Verification packs that its manifest speaks of stay in it.
        image_size: (height, width) for `property`.
        identity_names: optional name of each identity, kept in `manifest.json`.
        preprocessing: kept in `manifest.json`; by default plain `Preprocessing(size=height)`.
        extra: further entries of `manifest.json`.
        continued: (labels, bytes of the .rec, bytes of the .idx) already written, to go on with
            the partial files of an interrupted run.
    """

    def __init__(
        self,
        folder: str | Path,
        image_size: tuple[int, int] = (112, 112),
        *,
        identity_names: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        overwrite: bool = False,
        extra: dict[str, Any] | None = None,
        continued: tuple[Sequence[int], int, int] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._overwrite = overwrite
        self._check_free()
        make_folder(self.folder)
        read_entries(self.folder)  # a damaged manifest is said now, not when all is written
        self.image_size = image_size
        self.identity_names = identity_names
        self.preprocessing = preprocessing or Preprocessing(size=image_size[0])
        self.extra = dict(extra or {})
        self._starts: list[int] = []  # index of the first image of each identity
        self._count = 0
        self._rec = (self.folder / "train.rec.partial").open("ab" if continued else "wb")
        self._idx = (self.folder / "train.idx.partial").open("ab" if continued else "wb")
        if continued:
            self._continue(*continued)

    def _check_free(self) -> None:
        """Refuse to replace a set that this writer was not told to overwrite."""
        if not self._overwrite:
            check_free(self.folder)

    def _continue(self, labels: Sequence[int], rec_size: int, idx_size: int) -> None:
        """Take up a partial set whose files are whole up to these sizes."""
        for file, size in ((self._rec, rec_size), (self._idx, idx_size)):
            file.truncate(size)
            file.seek(size)
        self._count = len(labels)
        for number, label in enumerate(labels, 1):
            if label == len(self._starts):
                self._starts.append(number)

    def __len__(self) -> int:
        return self._count

    def add(self, image: bytes, identity: int) -> None:
        """Append one encoded image (JPEG or PNG bytes) of `identity`.

        Identities come in order 0, 1, 2, ..., the images of one together.

        Raises:
            FrfwError: the image is empty, or the identity is out of order.
        """
        if not image:
            raise FrfwError(f"image {self._count + 1} for {self.folder} is empty")
        if identity == len(self._starts):
            self._starts.append(self._count + 1)
        elif identity != len(self._starts) - 1:
            raise FrfwError(
                f"{self.folder}: images must come identity by identity, 0, 1, 2, ...; "
                f"after identity {len(self._starts) - 1} came {identity}"
            )
        self._count += 1
        self._write(self._count, image, float(identity))

    def _write(self, key: int, image: bytes, label: float | tuple[float, ...]) -> None:
        self._idx.write(b"%d\t%d\n" % (key, self._rec.tell()))
        self._rec.write(pack_record(image, key, label))

    def tell(self) -> tuple[int, int]:
        """Return the bytes given so far to the .rec and to the .idx."""
        return self._rec.tell(), self._idx.tell()

    def suspend(self) -> None:
        """Flush and close, leaving the partial files for a later run to continue."""
        self._rec.close()
        self._idx.close()

    def close(self) -> None:
        """Write identity records, header, property and manifest; put everything into place."""
        if self._rec.closed:
            return
        if not self._count:
            self.abort()
            raise FrfwError(f"no image was added: {self.folder} was not written")
        identities = len(self._starts)
        bounds = [*self._starts, self._count + 1]
        for identity in range(identities):
            span = (float(bounds[identity]), float(bounds[identity + 1]))
            self._write(self._count + 1 + identity, b"", span)
        first = self._count + 1
        self._write(0, b"", (float(first), float(first + identities)))
        for file in (self._rec, self._idx):
            file.flush()
            os.fsync(file.fileno())
            file.close()
        self._check_free()  # once more: another writer may have finished meanwhile
        height, width = self.image_size
        self._place("property", f"{identities},{height},{width}")
        self._place(MANIFEST, json.dumps(self._manifest(), indent=1) + "\n")
        if self._overwrite:
            (self.folder / "train.idx").unlink(missing_ok=True)
        os.replace(self.folder / "train.rec.partial", self.folder / "train.rec")
        os.replace(self.folder / "train.idx.partial", self.folder / "train.idx")

    def _manifest(self) -> dict[str, Any]:
        names = self.identity_names
        return {
            "format": "frfw recordio",
            "images": self._count,
            "identities": len(self._starts),
            "preprocessing": self.preprocessing.to_dict(),
            "identity_names": [str(n) for n in names] if names is not None else None,
            **self.extra,
            **_packs(self.folder),
        }

    def _place(self, name: str, text: str) -> None:
        temporary = self.folder / f"{name}.partial"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, self.folder / name)

    def abort(self) -> None:
        """Close and remove the partial files."""
        for file in (self._rec, self._idx):
            file.close()
            Path(file.name).unlink(missing_ok=True)

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        elif not self._rec.closed:
            self.abort()


def check_free(folder: Path) -> None:
    """Refuse a folder that holds a set, or half of one, before any work is done."""
    for name in ("train.rec", "train.idx"):
        if (folder / name).exists():
            raise FrfwError(f"{folder} already holds a {name}: give another folder or remove it")


def _packs(folder: Path) -> dict[str, Any]:
    """What the folder's manifest says of verification packs, which are not this writer's."""
    entries = read_entries(folder)
    return {"packs": entries["packs"]} if "packs" in entries else {}
