"""Images that look alike: a 64-bit difference hash finds candidates, small pictures decide.

Aligned faces resemble one another so much that the hash alone takes different people for copies.
"""

from __future__ import annotations

import cv2
import numpy as np

_MAX_BITS = 2
_MAX_DIFFERENCE = 5.0  # mean absolute grey-level difference of the small pictures
_BUCKET = 200  # a band shared by more images than this says nothing (blank or very plain images)


def perceptual_hash(grey: np.ndarray) -> int:
    """Return the 64-bit difference hash of a grey uint8 image: is a pixel of 9x8 below the next."""
    small = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = (small[:, 1:] > small[:, :-1]).reshape(-1)
    return int(np.packbits(bits).view(">u8")[0])


def small_picture(grey: np.ndarray) -> np.ndarray:
    """Return the (256,) int8 of a grey uint8 image at 16x16, without its mean."""
    small = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.clip(small - small.mean(), -127, 127).astype(np.int8).reshape(-1)


def near_duplicates(hashes: np.ndarray, pictures: np.ndarray) -> list[list[int]]:
    """Group the positions of images that look alike.

    Two hashes that differ in at most 2 bits agree in at least 2 of 4 bands of 16 bits; only
    images that share a pair of bands are compared, so the work is near-linear.

    Args:
        hashes: (N,) uint64 of `perceptual_hash`.
        pictures: (N, 256) int8 of `small_picture`.
    """
    pairs = set()
    bands = [(hashes >> np.uint64(16 * b)) & np.uint64(0xFFFF) for b in range(4)]
    for first in range(4):
        for second in range(first + 1, 4):
            key = (bands[first] << np.uint64(16)) | bands[second]
            order = np.argsort(key, kind="stable")
            edges = np.flatnonzero(np.diff(key[order])) + 1
            starts = np.concatenate([[0], edges, [len(order)]])
            for at in np.flatnonzero((np.diff(starts) > 1) & (np.diff(starts) <= _BUCKET)):
                pairs |= _alike(order[starts[at] : starts[at + 1]], hashes, pictures)
    return _connected(pairs)


def _alike(bucket: np.ndarray, hashes: np.ndarray, pictures: np.ndarray) -> set[tuple[int, int]]:
    """Pairs (low, high) among the images of `bucket` that look alike."""
    values = hashes[bucket]
    differing = (values[:, None] ^ values[None, :])[..., None].view(np.uint8)
    close = np.unpackbits(differing, axis=-1).sum(-1) <= _MAX_BITS
    found = set()
    for a, b in np.argwhere(np.triu(close, 1)).tolist():
        one, two = int(bucket[a]), int(bucket[b])
        apart = np.abs(pictures[one].astype(np.int16) - pictures[two]).mean()
        if apart <= _MAX_DIFFERENCE:
            found.add((min(one, two), max(one, two)))
    return found


def _connected(pairs: set[tuple[int, int]]) -> list[list[int]]:
    """Groups of positions that the pairs connect, each sorted."""
    group: dict[int, list[int]] = {}
    for pair in sorted(pairs):
        merged = sorted({*group.get(pair[0], [pair[0]]), *group.get(pair[1], [pair[1]])})
        for member in merged:
            group[member] = merged
    unique = {members[0]: members for members in group.values()}
    return [unique[head] for head in sorted(unique)]
