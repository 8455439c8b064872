"""Where the crop of each image goes below the folder that `align` writes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from frfw.data.dataset import Dataset
from frfw.data.folder import FolderDataset
from frfw.data.manifest import MANIFEST, UNFINISHED

_LONGEST = 200  # bytes of UTF-8: file systems take 255, and `~2` or a suffix may follow


def crop_paths(dataset: Dataset) -> Iterator[str]:
    """The crop of each image below the folder, a different one for each.

    A file of an image folder keeps its name below its identity, since protocols ask for it;
    elsewhere the image's number is the name.
    """
    folders = folder_names([str(name) for name in dataset.identity_names])
    taken = set()
    for index in range(len(dataset)):
        base, inner = dataset.origin(index)
        name = f"{index:08d}"
        if isinstance(base, FolderDataset):
            name = os.path.splitext(base.path(inner).split("/", 1)[1])[0]
        place = f"{folders[int(dataset.labels[index])]}/{name}"
        if f"{place}.jpg" in taken:  # 1.png beside 1.jpg, or identities that were merged
            above, _, last = place.rpartition("/")
            place = f"{above}/{_cut(last)}~{index:08d}"
        taken.add(f"{place}.jpg")
        yield f"{place}.jpg"


def folder_names(identities: Sequence[str]) -> list[str]:
    """Names of folders that stay where they are made, a different one for each identity.

    They differ by more than upper and lower case, which some file systems do not tell apart, and
    from the names that `align` itself writes.
    """
    taken = {MANIFEST, UNFINISHED}
    names = []
    for identity in identities:
        text = "".join("_" if c in '/\\:*?"<>|' or ord(c) < 32 else c for c in identity)
        safe = _cut(text.lstrip(".")) or "_"
        name, count = safe, 1
        while name.lower() in taken:
            count += 1
            name = f"{safe}~{count}"
        taken.add(name.lower())
        names.append(name)
    return names


def _cut(name: str) -> str:
    """The beginning of a name, as much as a file system takes, in whole characters."""
    name = name[:_LONGEST]
    while len(os.fsencode(name)) > _LONGEST:
        name = name[:-1]
    return name
