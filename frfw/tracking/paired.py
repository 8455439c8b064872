"""Is one setting better than another on the same folds? An exact paired test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_EXACT_UP_TO = 16  # differences: 2^16 sign patterns


def sign_flip(first: Sequence[float], second: Sequence[float], draws: int = 20000) -> float | None:
    """Return the two-sided p-value of paired differences, by flipping their signs.

    Under the null hypothesis each difference is as likely to be its opposite. Up to 16 pairs all
    2^n sign patterns are counted, so the p-value is exact (Fisher 1935); beyond, `draws` random
    patterns from a fixed seed. Nothing is assumed of the distribution. None where there are
    fewer than five pairs: no p-value under 0.06 could come out.
    """
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    n = len(differences)
    if n < 5:
        return None
    if n <= _EXACT_UP_TO:
        bits = np.arange(2**n)[:, None] >> np.arange(n) & 1
        signs = 1.0 - 2.0 * bits
    else:
        rng = np.random.default_rng(0)
        signs = np.vstack([np.ones(n), 1.0 - 2.0 * rng.integers(0, 2, (draws, n))])
    totals = np.abs(signs @ differences)
    observed = abs(differences.sum())
    return float(np.mean(totals >= observed - 1e-12 * max(1.0, observed)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for being several (Holm 1979); None stays None."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[i] = highest
    return adjusted
