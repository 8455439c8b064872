"""Apply a patch that `frfw.data clean` wrote: images to drop, identities to merge or drop."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from frfw.data.dataset import Dataset
from frfw.data.selection import Selection
from frfw.errors import FrfwError

ACTIONS = ("drop_image", "drop_identity", "merge_identity")
NEEDED = ("action", "image", "identity", "into", "fingerprint")
COLUMNS = (*NEEDED, "reason")


def apply_patch(dataset: Dataset, path: str | Path) -> Dataset:
    """Return `dataset` changed as the CSV says; the files of the set stay as they are.

    Rows: `drop_image` (image number), `drop_identity` (name), `merge_identity` (name, into: name).

    Raises:
        FrfwError: the file is no patch, it was made for another data set (its fingerprint tells),
            or a row is wrong.
    """
    path = Path(path)
    keep = np.ones(len(dataset), bool)
    target = np.arange(dataset.num_classes)
    number = {str(name): i for i, name in enumerate(dataset.identity_names)}
    for where, row in _rows(path):
        if row["fingerprint"] != dataset.fingerprint:
            raise FrfwError(f"{where}: the patch was made for another data set or another order")
        action = row["action"]
        if action == "drop_image":
            keep[_image(row["image"], len(dataset), where)] = False
            continue
        if action not in ACTIONS:
            raise FrfwError(f"{where}: {action!r} is none of {', '.join(ACTIONS)}")
        for key in ("identity", "into")[: 2 if action == "merge_identity" else 1]:
            if row[key] not in number:
                raise FrfwError(f"{where}: {row[key]!r} is no identity of {dataset.name}")
        identity = number[row["identity"]]
        if action == "drop_identity":
            keep[dataset.labels == identity] = False
        else:
            target[target == target[identity]] = target[number[row["into"]]]
    images = np.flatnonzero(keep)
    if len(images) < 2:
        raise FrfwError(f"{path} leaves {len(images)} images of {dataset.name}")
    return Selection(dataset, images, target[dataset.labels[images]])


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (file and line, columns) of each row."""
    try:
        # Names that are not UTF-8 keep their bytes, as when the patch was written.
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            missing = [name for name in NEEDED if header.count(name) != 1]
            if missing:
                raise FrfwError(
                    f"{path} is no patch: its first line should name the columns "
                    f"{', '.join(COLUMNS)}, and does not name {', '.join(missing)} once"
                )
            line = reader.line_num + 1
            for row in reader:
                where = f"{path}, line {line}"
                line = reader.line_num + 1
                if not row:
                    continue
                if len(row) != len(header):
                    raise FrfwError(
                        f"{where}: {len(row)} columns, and the first line {len(header)}"
                    )
                yield where, dict(zip(header, row))
    except FileNotFoundError as error:
        raise FrfwError(f"{path} is missing") from error
    except (OSError, csv.Error) as error:
        raise FrfwError(f"{path} cannot be read as a patch: {error}") from error


def _image(text: str, count: int, where: str) -> int:
    digits = text.isascii() and text.isdigit() and len(text) < 19
    if not digits or int(text) >= count:
        raise FrfwError(f"{where}: {text[:40]!r} is no image number from 0 to {count - 1}")
    return int(text)
