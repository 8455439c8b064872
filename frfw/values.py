"""Settings as they come from a config or a command line, as the numbers they must be."""

from __future__ import annotations

from frfw.errors import FrfwError


def whole(value: object, where: str, low: int) -> int:
    """Return `value` as a whole number of at least `low`; FrfwError names the setting."""
    text = str(value)
    if isinstance(value, bool) or not text.removeprefix("-").isdecimal() or int(text) < low:
        raise FrfwError(f"{where}={text}: give a whole number from {low} on")
    return int(text)


def rate(value: object, where: str) -> float:
    """Return `value` as a number above 0 and up to 1; FrfwError names the setting."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number <= 1:  # NaN is refused too
        raise FrfwError(f"{where}={value}: give a rate above 0 and up to 1")
    return number
