"""A data set without some of its identities."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from frfw.data.dataset import Dataset
from frfw.errors import FrfwError, nearest

log = logging.getLogger("frfw.data")
_APART = re.compile(r"\d+/(.+)")  # a name of a mixture kept apart: number of the set/name
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


class Selection(Dataset):
    """Some images of `base`, renumbered; identities that lose all their images are gone.

    Args:
        images: (M,) ascending image numbers of `base`.
        labels: (M,) identity numbers of `base`, by default those of the images.
        identity_names: by number, by default those of `base`.
    """

    def __init__(
        self,
        base: Dataset,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        identity_names: Sequence[str] | None = None,
    ) -> None:
        self.base, self._images = base, images
        old = base.labels[images] if labels is None else labels
        names = base.identity_names if identity_names is None else identity_names
        kept, self.labels = np.unique(old, return_inverse=True)
        self.labels = self.labels.astype(np.int64).reshape(-1)
        self.identity_names = [names[i] for i in kept.tolist()]
        self.name, self.size, self.preprocessing = base.name, base.size, base.preprocessing

    def read(self, index: int) -> bytes:
        return self.base.read(int(self._images[index]))

    def locate(self, index: int) -> str:
        return self.base.locate(int(self._images[index]))

    def origin(self, index: int) -> tuple[Dataset, int]:
        return self.base.origin(int(self._images[index]))

    def _content_digest(self) -> bytes:
        return hashlib.blake2b(self.base.fingerprint.encode() + self._images.tobytes()).digest()


def plain_name(name: str) -> str:
    """Return an identity's name in its own set: `0/mary` of a mixture kept apart is `mary`."""
    apart = _APART.fullmatch(name)
    return apart[1] if apart else name


def select_identities(dataset: Dataset, keep: object = None, exclude: object = None) -> Dataset:
    """Return `dataset` with the identities of `keep` only, without those of `exclude`.

    Both are a name, a file with one name a line (# begins a comment), a range `401..500` of names
    that are numbers, or a list of these.

    Raises:
        FrfwError: a name is no identity of the set, or fewer than two images are left.
    """
    if not keep and not exclude:
        return dataset
    wanted = np.ones(dataset.num_classes, bool)
    if keep:
        wanted[:] = False
        wanted[_numbers(dataset, keep, "keep")] = True
    if exclude:
        wanted[_numbers(dataset, exclude, "exclude")] = False
    images = np.flatnonzero(wanted[dataset.labels])
    if len(images) < 2:
        raise FrfwError(f"{dataset.name}: keep and exclude leave {len(images)} images")
    return Selection(dataset, images)


def _numbers(dataset: Dataset, items: object, key: str) -> list[int]:
    names = {str(name): number for number, name in enumerate(dataset.identity_names)}
    found: list[int] = []
    for item in [items] if isinstance(items, str | int | Path) else _iterate(items, key):
        text = str(item)
        span = _RANGE.fullmatch(text)
        if text in names:
            found.append(names[text])
        elif span:
            first, last = int(span[1]), int(span[2])
            matching = [n for name, n in names.items() if _in_range(name, first, last)]
            if not matching:
                raise FrfwError(f"data.{key}: no identity of {dataset.name} lies in {text}")
            found += matching
        elif Path(text).is_file():
            found += _listed(dataset, names, Path(text), key)
        else:
            raise FrfwError(
                f"data.{key}: {text!r} is neither an identity of {dataset.name} nor a file with "
                f"one identity a line.{nearest(text, list(names)[:10000])}"
            )
    return found


def _listed(dataset: Dataset, names: dict[str, int], path: Path, key: str) -> list[int]:
    """Numbers of the identities that a file lists; in a mixture kept apart, in each of its sets."""
    numbers: dict[str, list[int]] = {}
    for name, number in names.items():
        numbers.setdefault(name, []).append(number)
        if plain_name(name) != name:
            numbers.setdefault(plain_name(name), []).append(number)
    lines = _lines(path)
    found = [number for line in lines for number in numbers.get(line, ())]
    if not found:
        log.warning("data.%s: none of the names in %s is in %s", key, path, dataset.name)
    return found


def _iterate(items: object, key: str) -> Iterable[object]:
    if isinstance(items, Iterable):
        return items
    raise FrfwError(f"data.{key} is a name, a file, a range or a list of these, not {items!r}")


def _in_range(name: str, first: int, last: int) -> bool:
    return name.isdigit() and first <= int(name) <= last


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line]
