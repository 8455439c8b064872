"""Tar shards in the WebDataset layout, indexed for random access.

A sample is the files that share a name up to the first dot: an image, and `.cls` (identity number
or name) or `.json` (key `identity`, `label` or `cls`). Without either, the folder in front of the
name is the identity. Members are read in place by offset; nothing is ever unpacked to disk.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tarfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from frfw.data.decode import IMAGE_SUFFIXES, BadImage
from frfw.data.index_cache import Arrays, IndexedDataset
from frfw.data.manifest import read_manifest
from frfw.data.preprocessing import Preprocessing
from frfw.data.strings import StringColumn
from frfw.errors import FrfwError

log = logging.getLogger("frfw.data")

_MAX_LABEL_FILE = 1 << 20
_LARGE = 1 << 30


class TarDataset(IndexedDataset):
    """The images of one tar file, or of all `*.tar` of a folder in order of their names.

    Raises:
        FrfwError: no shard; a damaged, cut off or compressed one; an image without identity; fewer
            than two images.
    """

    def __init__(self, path: str | Path, size: int | None = None) -> None:
        path = Path(path)
        self.shards = sorted(path.glob("*.tar")) if path.is_dir() else [path]
        if not self.shards:
            raise FrfwError(f"{path} holds no .tar")
        self.name = path.stem
        name = "tar" if path.is_dir() else path.name
        self.open_index(name, self.shards, lambda: iter(_read_index(path, self.shards).items()))
        folder = path if path.is_dir() else path.parent
        self.preprocessing = read_manifest(folder) or Preprocessing(size=size or 112)
        self.size = size or self.preprocessing.size
        links = int(self.arrays["links"][0])
        if links:
            self.notes = [
                f"{links} links in {path} are named as images: passed over, since a link has no "
                "data of its own (tar --dereference --hard-dereference stores them as files)"
            ]
        self._files: tuple[int, dict[int, int]] = (0, {})  # process id, descriptor by shard

    @property
    def _names(self) -> StringColumn:
        return StringColumn.read(self.arrays, "names")

    @property
    def identity_names(self) -> StringColumn:  # type: ignore[override]
        return StringColumn.read(self.arrays, "identities")

    def read(self, index: int) -> bytes:
        length = int(self.arrays["length"][index])
        try:
            file = self._descriptor(int(self.arrays["shard"][index]))
            data = os.pread(file, length, int(self.arrays["offset"][index]))
        except OSError as error:
            raise BadImage(f"it cannot be read: {error.strerror}") from error
        if len(data) < length:
            raise BadImage("the shard ends before the image does")
        return data

    def locate(self, index: int) -> str:
        return f"{self.shards[self.arrays['shard'][index]]}:{self._names[index]}"

    def _descriptor(self, shard: int) -> int:
        if self._files[0] != os.getpid():
            self._files = (os.getpid(), {})
        files = self._files[1]
        if shard not in files:
            files[shard] = os.open(self.shards[shard], os.O_RDONLY)
        return files[shard]

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "_files": (0, {})}

    def __del__(self) -> None:
        process, files = getattr(self, "_files", (0, {}))
        if process == os.getpid():
            for file in files.values():
                os.close(file)

    def _content_digest(self) -> bytes:
        digest = hashlib.blake2b(np.ascontiguousarray(self._names.data))
        for name in ("shard", "offset", "length"):
            digest.update(np.ascontiguousarray(self.arrays[name]))
        return digest.digest()


def _read_index(path: Path, shards: list[Path]) -> Arrays:
    if sum(shard.stat().st_size for shard in shards if shard.is_file()) > _LARGE:
        log.info("reading the headers of %s: minutes for millions of images, once", path)
    numbers = {"shard": array("i"), "offset": array("q"), "length": array("q"), "code": array("q")}
    codes: dict[str, int] = {}
    links = 0

    def names() -> Iterator[str]:  # as each is read, so that millions are never a list
        nonlocal links
        for shard, file in enumerate(shards):
            content = _read_headers(file)
            links += content.links
            for offset, length, identity, name in content.samples():
                code = codes.setdefault(identity, len(codes))
                for column, value in zip(numbers.values(), (shard, offset, length, code)):
                    column.append(value)
                yield name

    column = StringColumn.of(names())
    if len(column) < 2:
        raise FrfwError(f"{path} holds {len(column)} images: nothing to train on")
    identities = sorted(codes)
    place = np.empty(len(codes), np.int64)
    place[[codes[identity] for identity in identities]] = np.arange(len(codes))
    arrays = {name: np.frombuffer(values, values.typecode) for name, values in numbers.items()}
    return {
        "labels": place[arrays.pop("code")],
        **arrays,
        **column.arrays("names"),
        **StringColumn.of(identities).arrays("identities"),
        "links": np.array([links]),
    }


@dataclass
class _Content:
    """What the headers of one shard say.

    Attributes:
        images: by sample, where its image begins, how many bytes it has, its name.
        identities: by sample, as far as label files tell.
        links: how many hard and symbolic links are named as images.
    """

    shard: Path
    images: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
    links: int = 0

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = PurePosixPath(member.name)
        suffix = path.suffix.lower()
        # Hidden, as in a folder: macOS puts a `._NAME` with its own data beside every file.
        if any(part.startswith(".") and part != ".." for part in path.parts):
            return
        if member.issym() or member.islnk():
            self.links += suffix in IMAGE_SUFFIXES
        if not member.isreg():
            return
        key = str(path.parent / path.name.split(".")[0])
        if suffix in IMAGE_SUFFIXES:
            if key in self.images:
                raise FrfwError(
                    f"{self.shard}: {self.images[key][2]} and {member.name} are one sample, whose "
                    "name ends at the first dot: rename them, or pack the folder instead"
                )
            self.images[key] = (member.offset_data, member.size, member.name)
        elif suffix in (".cls", ".json") and member.size <= _MAX_LABEL_FILE:
            file = archive.extractfile(member)
            self.identities[key] = _identity(file.read(), suffix, f"{self.shard}:{member.name}")

    def samples(self) -> Iterator[tuple[int, int, str, str]]:
        """Yield (offset, length, identity, member name) of the images, in order."""
        for key, (offset, length, name) in self.images.items():
            identity = self.identities.get(key, PurePosixPath(key).parent.name)
            if not identity or identity in (".", ".."):
                label = PurePosixPath(key).name + ".cls"
                raise FrfwError(
                    f"{self.shard}:{name} has no identity: put a {label} with its name beside it "
                    "in the tar, or the image into a folder of that name"
                )
            yield offset, length, identity, name


def _read_headers(shard: Path) -> _Content:
    if not shard.is_file():  # a pipe would be waited on for ever
        raise FrfwError(f"{shard} is no regular file: a shard is a .tar")
    content = _Content(shard)
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                archive.members.clear()  # else all headers, a kilobyte each, are kept
                content.add(archive, member)
            end = archive.offset
        _check_end(shard, end)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise FrfwError(f"{shard} is no whole, uncompressed tar: {error}") from error
    return content


def _check_end(shard: Path, end: int) -> None:
    """Refuse what Python's tarfile, like GNU tar, takes for the end of an archive though it is not.

    Writers end an archive with two blocks of zeros and more of them as padding; one is enough here.
    """
    with shard.open("rb") as file:
        file.seek(end)
        block = file.read(tarfile.BLOCKSIZE)
        if block.strip(b"\0"):
            raise FrfwError(
                f"{shard} is damaged: no valid header at byte {end}, and what follows would be "
                "lost; copy or make it again"
            )
        if len(block) < tarfile.BLOCKSIZE:
            raise FrfwError(
                f"{shard} is cut off: it ends at byte {end + len(block)} without the end marker of "
                "a tar, a block of zeros; copy or make it again (if nothing is missing, append "
                "1024 zero bytes)"
            )
        at = end + tarfile.BLOCKSIZE
        while piece := file.read(1 << 20):
            if rest := piece.lstrip(b"\0"):
                raise FrfwError(
                    f"{shard}: data at byte {at + len(piece) - len(rest)}, behind the end of the "
                    f"archive at byte {end}: a damaged header, or several tars put together; make "
                    "it again, or give each tar as a shard of its own"
                )
            at += len(piece)


def _identity(data: bytes, suffix: str, where: str) -> str:
    try:
        text = data.decode("utf-8").strip()
        if suffix == ".cls":
            return text
        entries = json.loads(text)
        for key in ("identity", "label", "cls"):
            if isinstance(entries, dict) and isinstance(entries.get(key), str | int):
                return str(entries[key])
    except (ValueError, RecursionError) as error:
        raise FrfwError(f"{where} cannot be read: {error}") from error
    raise FrfwError(f"{where} has no key identity, label or cls")
