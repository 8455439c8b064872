"""Pairs of embeddings that somebody made already, from an `.npz`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frfw.errors import FrfwError, nearest
from frfw.evaluation.arrays import first_equal, read_npz
from frfw.evaluation.identities import linked

Arrays = dict[str, NDArray[Any]]


def read_pair_embeddings(path: Path) -> dict[str, Any]:
    """Read pairs of embeddings from an `.npz`.

    Either `embeddings` (M, D) with `pairs` (P, 2), or `embeddings_a` and `embeddings_b` (P, D);
    with `same` (P,) and optionally `fold`, `group` (P,) and `identity` (M,). Without `identity`,
    rows that are equal in every bit are one image, and same pairs join their two into one person.

    Raises:
        FrfwError: the file is damaged, an array is missing, its shape or type does not fit, or an
            embedding is zero or not numbers.
    """
    arrays = read_npz(path)
    if "embeddings_a" in arrays and "embeddings_b" in arrays:
        a, b = arrays["embeddings_a"], arrays["embeddings_b"]
        if a.ndim != 2 or a.shape != b.shape:
            raise FrfwError(f"{path}: embeddings_a {a.shape} and embeddings_b {b.shape} differ")
        arrays["embeddings"] = np.concatenate([a, b])
        arrays["pairs"] = np.arange(2 * len(a)).reshape(2, -1).T
    for key in ("embeddings", "pairs", "same"):
        if key not in arrays:
            raise FrfwError(f"{path} has no array {key!r}.{nearest(key, arrays)}")
    _check_shapes(path, arrays)
    embeddings, same = arrays["embeddings"], arrays["same"].astype(bool)
    pairs = arrays["pairs"].astype(np.int64)
    _check_values(path, embeddings, pairs)
    who = arrays.get("identity")
    if who is None:
        image = first_equal(embeddings)
        who = linked(len(embeddings), image[pairs[same]])[image]
    return {
        "embeddings": embeddings,
        "pairs": pairs,
        "same": same,
        "folds": arrays.get("fold"),
        "groups": arrays["group"].astype(str) if "group" in arrays else None,
        "identities": who,
    }


def _check_shapes(path: Path, arrays: Arrays) -> None:
    embeddings, pairs, same = arrays["embeddings"], arrays["pairs"], arrays["same"]
    if embeddings.ndim != 2 or pairs.shape != (same.size, 2) or same.ndim != 1:
        raise FrfwError(
            f"{path}: embeddings {embeddings.shape}, pairs {pairs.shape}, same {same.shape}; "
            "need (M, D), (P, 2), (P,)"
        )
    if embeddings.dtype.kind not in "fiu" or pairs.dtype.kind not in "iu":
        raise FrfwError(
            f"{path}: embeddings are {embeddings.dtype}, pairs {pairs.dtype}; need numbers and "
            "whole numbers"
        )
    if not np.isin(same, (0, 1)).all():
        raise FrfwError(f"{path}: same holds {same[~np.isin(same, (0, 1))][0]}; need 0 and 1")
    if "identity" in arrays and arrays["identity"].shape != embeddings.shape[:1]:
        raise FrfwError(
            f"{path}: identity has shape {arrays['identity'].shape}, not {embeddings.shape[:1]}"
        )
    if pairs.size and (pairs.min() < 0 or pairs.max() >= len(embeddings)):
        raise FrfwError(f"{path}: pairs name rows outside 0..{len(embeddings) - 1}")
    for key in ("fold", "group"):
        if key in arrays and arrays[key].shape != same.shape:
            raise FrfwError(f"{path}: {key} has shape {arrays[key].shape}, not {same.shape}")


def _check_values(path: Path, embeddings: NDArray[Any], pairs: NDArray[np.int64]) -> None:
    """Name the first pair with an embedding that cannot be compared."""
    finite, zero = np.isfinite(embeddings).all(axis=1), ~embeddings.any(axis=1)
    bad = (~finite | zero)[pairs]
    if bad.any():
        pair, side = (int(place) for place in np.argwhere(bad)[0])
        what = "all zeros" if zero[pairs[pair, side]] else "not numbers (NaN or infinity)"
        raise FrfwError(
            f"{path}: the {('first', 'second')[side]} embedding of pair {pair} is {what} "
            f"({int(bad.any(axis=1).sum())} such pairs, counted from 0); make it again or leave "
            "the pair out"
        )
