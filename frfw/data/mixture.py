"""Several sources as one data set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from frfw.data.dataset import Dataset
from frfw.errors import FrfwError


class Mixture(Dataset):
    """The images of several data sets, one after another.

    Args:
        parts: the data sets; the first one's size is used for all, and their stated
            pre-processing must not contradict one another.
        merge: "apart" keeps identities of different parts apart, "name" takes equal names for
            the same person.

    Raises:
        FrfwError: no part, an unknown `merge`, or crops made in different ways.
    """

    def __init__(self, parts: Sequence[Dataset], merge: str = "apart") -> None:
        if not parts:
            raise FrfwError("data.sources is empty")
        if merge not in ("apart", "name"):
            raise FrfwError(f"data.merge={merge}: choose apart or name")
        self.parts = list(parts)
        for part in parts[1:]:
            different = parts[0].preprocessing.differences(part.preprocessing)
            # All are resized to one size; and who found the landmarks may differ in a mixture.
            free = ("size:", "alignment.landmarks:")
            different = [line for line in different if not line.startswith(free)]
            if different:
                raise FrfwError(
                    f"{parts[0].name} and {part.name} were cropped in different ways: "
                    f"{'; '.join(different)}; align them the same way first"
                )
        self.name = "+".join(part.name for part in parts)
        self.size, self.preprocessing = parts[0].size, parts[0].preprocessing
        self.notes = [note for part in parts for note in part.notes]
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        names: dict[str, int] = {}
        labels = []
        for number, part in enumerate(parts):
            apart = "" if merge == "name" else f"{number}/"
            code = [names.setdefault(apart + str(n), len(names)) for n in part.identity_names]
            labels.append(np.array(code, np.int64)[part.labels])
        self.labels, self.identity_names = np.concatenate(labels), list(names)

    def _part(self, index: int) -> tuple[Dataset, int]:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.parts[number], int(index - self._starts[number])

    def read(self, index: int) -> bytes:
        part, inner = self._part(index)
        return part.read(inner)

    def locate(self, index: int) -> str:
        part, inner = self._part(index)
        return part.locate(inner)

    def origin(self, index: int) -> tuple[Dataset, int]:
        part, inner = self._part(index)
        return part.origin(inner)

    def _content_digest(self) -> bytes:
        return hashlib.blake2b("".join(p.fingerprint for p in self.parts).encode()).digest()
