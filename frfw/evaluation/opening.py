"""Which of the sets that are asked for are there: one rule for sets of every kind."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frfw.errors import FrfwError, nearest

log = logging.getLogger("frfw.evaluation")

PLACES = {  # what must exist, by the kind of set
    "pairs": ("path",),
    "identification": ("gallery", "probe"),
    "templates": ("images", "meta"),
}


def present(
    sets: Mapping[str, Any], kinds: tuple[str, ...], skip_missing: bool = False
) -> dict[str, dict[str, Any]]:
    """Return the sets of these kinds whose files or folders are there, as mappings.

    One that is not there is passed over with a warning, unless it is the only set of any kind
    that is asked for. A place that is not set is for the set's own reader to refuse.

    Args:
        sets: by name, all that `evaluation.sets` holds: a path, or a mapping.
        skip_missing: of sets that do not say.

    Raises:
        FrfwError: an unknown kind, or the only set is not there.
    """
    found = {}
    for name, given in sets.items():
        source = dict(given) if isinstance(given, Mapping) else {"path": given}
        kind = str(source.get("kind") or "pairs")
        if kind not in PLACES:
            raise FrfwError(
                f"{name}: kind={kind}: choose {', '.join(PLACES)}.{nearest(kind, PLACES)}"
            )
        if kind not in kinds:
            continue
        places = [Path(str(source[key])) for key in PLACES[kind] if source.get(key)]
        gone = next((place for place in places if not place.exists()), None)
        if gone is not None and len(sets) == 1:
            raise FrfwError(f"evaluation set {name}: {gone} does not exist")
        if gone is not None:
            log.warning("evaluation set %s is skipped: %s does not exist", name, gone)
            continue
        if source.get("skip_missing") is None:
            source["skip_missing"] = skip_missing
        found[name] = source | {"kind": kind}
    return found


def check_keys(name: str, source: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse a key that a set of this kind does not have, and a place that is not set."""
    kind = str(source.get("kind"))
    for key in source:
        if key not in known:
            raise FrfwError(f"{name}: a set of {kind} has no {key!r}.{nearest(key, known)}")
    for key in (*PLACES[kind], *(("prefix",) if kind == "templates" else ())):
        if not source.get(key):
            told = ": a folder or a CSV" if kind == "identification" else ""
            raise FrfwError(f"{name}: evaluation.sets.{name}.{key} is not set{told}")
