"""What every source of training images gives: numbered encoded images with labels 0..C-1."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from frfw.data.decode import BadImage, decode, decode_into
from frfw.data.preprocessing import Preprocessing


class Dataset:
    """Base of all sources. Subclasses set the attributes below and define `read` and `locate`.

    A data set is picklable and opens its files in the process that reads them, so it works under
    fork and spawn alike.

    Attributes:
        name: short name for messages.
        labels: (N,) int64, contiguous 0..C-1.
        identity_names: name of each of the C identities.
        size: side in pixels of what indexing returns.
        preprocessing: what is known of how the crops were made.
        notes: what the reader passed over and a user should know, e.g. identities without images.
    """

    name: str
    labels: np.ndarray
    identity_names: Sequence[str]
    size: int
    preprocessing: Preprocessing
    notes: Sequence[str] = ()

    def read(self, index: int) -> bytes:
        """Return the encoded bytes of image `index`; raises BadImage when they cannot be read."""
        raise NotImplementedError

    def locate(self, index: int) -> str:
        """Say where image `index` is (file, record), for messages and lists."""
        raise NotImplementedError

    def origin(self, index: int) -> tuple[Dataset, int]:
        """Return the set that has image `index` on disk, and its number there."""
        return self, index

    def _content_digest(self) -> bytes:
        """Return a digest of the list of images, independent of where the set lies."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return image `index` as uint8 RGB (size, size, 3); raises BadImage."""
        try:
            return decode(self.read(index), self.size)
        except BadImage as error:
            raise BadImage(f"{self.locate(index)}: {error}") from error

    def load(self, index: int, out: np.ndarray, data: bytes | None = None) -> None:
        """Write image `index` to `out`, uint8 (size, size, 3) contiguous; raises BadImage.

        Args:
            data: what `read` returned for it, if that was done before.
        """
        try:
            decode_into(self.read(index) if data is None else data, out)
        except BadImage as error:
            raise BadImage(f"{self.locate(index)}: {error}") from error

    @property
    def num_classes(self) -> int:
        return len(self.identity_names)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with the list of images, their order or their labels.

        It is made of names and places (offsets in a RecordIO file), not of pixels: an image that
        is replaced under its name is not noticed.
        """
        digest = hashlib.blake2b(self._content_digest(), digest_size=8)
        digest.update(np.ascontiguousarray(self.labels))
        return digest.hexdigest()


def contiguous(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Renumber int64 labels 0..C-1 in ascending order: the new labels and the C old values.

    Labels that are so numbered are returned as they are.
    """
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, -1)
    if low >= 0 and high < 2 * len(labels):  # counting is many times faster than sorting
        present = np.bincount(labels, minlength=high + 1) > 0
        if present.all():
            return labels, np.arange(high + 1)
        renumbered = (np.cumsum(present) - 1)[labels]
        return renumbered, np.flatnonzero(present)
    values, renumbered = np.unique(labels, return_inverse=True)
    return renumbered.astype(np.int64, copy=False).reshape(-1), values
