"""Score a network on named pair sets: the same code during training and afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frfw.errors import FrfwError
from frfw.evaluation.bootstrap import bootstrap_intervals
from frfw.evaluation.cache import EmbeddingCache
from frfw.evaluation.extraction import Embed, Extraction, Stop, extract
from frfw.evaluation.opening import present
from frfw.evaluation.pairs import PairSet, check_folds, load_pairs
from frfw.evaluation.result import VerificationResult
from frfw.evaluation.verification import verify


def open_sets(
    sets: Mapping[str, Any], folds: int | None = None, skip_missing: bool = False
) -> dict[str, PairSet]:
    """Load named pair sets, and refuse at once what could not be scored later.

    A set whose file or folder is not there is skipped with a warning, unless it is the only set
    of any kind. Sets of another kind than pairs (identification, templates) are passed over:
    `open_protocols` opens them.

    Args:
        sets: by name, a path or a mapping as `load_pairs` takes it.
        folds: of sets that do not bring their own; None: not known yet.
        skip_missing: of sets that do not say: leave out pairs whose images are missing.

    Raises:
        FrfwError: the only set is missing, what `load_pairs` finds wrong, folds that cannot be.
    """
    opened = {}
    for name, source in present(sets, ("pairs",), skip_missing).items():
        opened[name] = load_pairs(source, name)
        if folds is not None:
            check_folds(opened[name], own_folds(opened[name], folds), f"{name}: {source['path']}")
    return opened


def evaluate_sets(
    embed: Embed,
    sets: Mapping[str, PairSet | Mapping[str, Any] | str | Path],
    how: Extraction | None = None,
    *,
    folds: int = 10,
    bootstrap: int = 0,
    seed: int = 0,
    cache: EmbeddingCache | None = None,
    stop: Stop | None = None,
) -> dict[str, VerificationResult]:
    """Score `embed` on pair sets; call it on every rank of a process group.

    Args:
        embed: (B, 3, H, W) uint8 RGB to (B, D) embeddings, not normalised. The network must be in
            evaluation mode.
        sets: by name, a loaded PairSet, a path, or a mapping as `load_pairs` takes it.
        how: size, flip, batch size, precision, device.
        folds: of sets that do not bring their own.
        bootstrap: resamples of identities for 95 % intervals; 0: none.
        seed: of the resampling.
        cache: where embeddings are looked up and kept.
        stop: asked between batches, equally often on every rank; true abandons everything.

    Returns:
        Results by name, the same on every rank; details hold flip, precision and skipped pairs.

    Raises:
        FrfwError: a set cannot be loaded or scored; its name is in the message.
        Stopped: `stop` said so.
    """
    how = how or Extraction()
    closed = {name: source for name, source in sets.items() if not isinstance(source, PairSet)}
    opened = open_sets(closed, folds) if closed else {}
    results = {}
    for name, source in sets.items():
        pairs = source if isinstance(source, PairSet) else opened.get(name)
        if pairs is not None:
            embeddings = embed_pairs(embed, pairs, how, cache, stop)
            results[name] = score_pairs(
                pairs, embeddings, name=name, folds=folds, bootstrap=bootstrap, seed=seed
            )
            if pairs.images is not None:
                results[name].details |= {"flip": how.flip, "precision": how.precision}
    return results


def embed_pairs(
    embed: Embed,
    pairs: PairSet,
    how: Extraction,
    cache: EmbeddingCache | None = None,
    stop: Stop | None = None,
) -> NDArray[np.floating]:
    """Return the (M, D) embeddings of a pair set's images, from the cache where it has them."""
    if pairs.images is None:
        return pairs.embeddings
    if cache is None:
        return extract(embed, pairs.images, how, stop=stop)
    return cache.get(pairs.images, how, lambda: extract(embed, pairs.images, how, stop=stop))


def score_pairs(
    pairs: PairSet,
    embeddings: NDArray[np.floating],
    *,
    name: str | None = None,
    folds: int = 10,
    bootstrap: int = 0,
    seed: int = 0,
) -> VerificationResult:
    """Score a pair set from the (M, D) embeddings of its images: figures, groups, intervals."""
    name = name or pairs.name
    own = own_folds(pairs, folds)
    left, right = (embeddings[pairs.pairs[:, side]] for side in (0, 1))
    try:
        result = verify(left, right, pairs.same, own, name=name)
    except FrfwError as error:
        raise FrfwError(f"{name}: {error}") from error
    result.pairs = pairs.pairs
    result.details |= pairs.details
    if bootstrap:
        who = pair_identities(pairs)
        result.intervals = bootstrap_intervals(result, who, bootstrap, seed)
        result.details["bootstrap"] = {"samples": bootstrap, "seed": seed}
    for group in np.unique(pairs.groups).tolist() if pairs.groups is not None else ():
        result.groups[group] = _group(pairs, left, right, group, own, bootstrap, seed)
    return result


def own_folds(pairs: PairSet, folds: int) -> int | NDArray[np.int64]:
    """Return the set's own folds where it brings some, else `folds`."""
    return folds if pairs.folds is None else pairs.folds


def pair_identities(pairs: PairSet) -> NDArray[np.int64]:
    """Return (P, 2): who is on the two images of each pair."""
    if pairs.identities is None:  # nothing is known: every pair counts as two people of its own
        return np.arange(2 * len(pairs)).reshape(-1, 2)
    return pairs.identities[pairs.pairs]


def _group(
    pairs: PairSet,
    left: NDArray[np.floating],
    right: NDArray[np.floating],
    group: str,
    folds: int | NDArray[np.int64],
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """Score one group on its own: its own folds choose its own threshold, as RFW does."""
    inside = pairs.groups == group
    own = np.asarray(folds)[inside] if np.ndim(folds) else folds
    try:
        result = verify(left[inside], right[inside], pairs.same[inside], own, name=group)
    except FrfwError as error:  # a group of one kind of pairs, say, has no error rates
        return {"pair_count": int(inside.sum()), "note": str(error)}
    if bootstrap:
        who = pair_identities(pairs)[inside]
        result.intervals = bootstrap_intervals(result, who, bootstrap, seed)
    kept = result.to_dict(scores=False)
    return {key: value for key, value in kept.items() if key not in ("groups", "details", "name")}
