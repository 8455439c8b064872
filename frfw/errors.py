"""The one exception that commands turn into a single clear line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FrfwError(ValueError):
    """Bad input, said so that a person can act on it: what, where, what to do."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest of `choices`, or an empty string."""
    close = difflib.get_close_matches(str(name), [str(c) for c in choices], n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""
