"""Apply a patch that `frfw.data clean` wrote: images to drop, identities to merge or drop."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from frfw.data.dataset import Dataset
from frfw.data.layouts.common import read_lines
from frfw.data.selection import Selection
from frfw.errors import FrfwError

ACTIONS = ("drop_image", "drop_identity", "merge_identity")
COLUMNS = ("action", "image", "identity", "into", "fingerprint", "reason")


def apply_patch(dataset: Dataset, path: str | Path) -> Dataset:
    """Return `dataset` changed as the CSV says; the files of the set stay as they are.

    Rows: `drop_image` (image number), `drop_identity` (name), `merge_identity` (name, into: name).

    Raises:
        FrfwError: the patch was made for another data set (its fingerprint tells), or a row is
            wrong.
    """
    path = Path(path)
    keep = np.ones(len(dataset), bool)
    target = np.arange(dataset.num_classes)
    number = {str(name): i for i, name in enumerate(dataset.identity_names)}
    for at, row in enumerate(csv.DictReader(read_lines(path)), 2):
        where = f"{path}, line {at}"
        if row.get("fingerprint") != dataset.fingerprint:
            raise FrfwError(f"{where}: the patch was made for another data set or another order")
        action = row.get("action")
        if action == "drop_image":
            keep[_image(row.get("image"), len(dataset), where)] = False
            continue
        if action not in ACTIONS:
            raise FrfwError(f"{where}: {action!r} is none of {', '.join(ACTIONS)}")
        for key in ("identity", "into")[: 2 if action == "merge_identity" else 1]:
            if row.get(key) not in number:
                raise FrfwError(f"{where}: {row.get(key)!r} is no identity of {dataset.name}")
        identity = number[row["identity"]]
        if action == "drop_identity":
            keep[dataset.labels == identity] = False
        else:
            target[target == target[identity]] = target[number[row["into"]]]
    images = np.flatnonzero(keep)
    if len(images) < 2:
        raise FrfwError(f"{path} leaves {len(images)} images of {dataset.name}")
    return Selection(dataset, images, target[dataset.labels[images]])


def _image(text: str | None, count: int, where: str) -> int:
    if not (text or "").isdigit() or int(text or "") >= count:
        raise FrfwError(f"{where}: {text!r} is no image number from 0 to {count - 1}")
    return int(text or "")
