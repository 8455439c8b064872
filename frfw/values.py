"""Settings as they come from a config or a command line, as the numbers they must be."""

from __future__ import annotations

import math

from frfw.errors import FrfwError


def whole(value: object, where: str, low: int) -> int:
    """Return `value` as a whole number of at least `low`; FrfwError names the setting."""
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value)
    if isinstance(value, bool) or not text.removeprefix("-").isdecimal() or int(text) < low:
        raise FrfwError(f"{where}={text}: give a whole number from {low} on")
    return int(text)


def flag(value: object, where: str) -> bool:
    """Return `value`, true or false; FrfwError names the setting."""
    if not isinstance(value, bool):
        raise FrfwError(f"{where}={value}: choose true or false")
    return value


def number(value: object, where: str, low: float, high: float = math.inf) -> float:
    """Return `value` as a number from `low` to `high`; FrfwError names the setting."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = math.nan
    if not low <= found <= high or math.isinf(found):
        limit = f" to {high:g}" if high < math.inf else " on"
        raise FrfwError(f"{where}={value}: give a number from {low:g}{limit}")
    return found


def rate(value: object, where: str) -> float:
    """Return `value` as a number above 0 and up to 1; FrfwError names the setting."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number <= 1:  # NaN is refused too
        raise FrfwError(f"{where}={value}: give a rate above 0 and up to 1")
    return number
