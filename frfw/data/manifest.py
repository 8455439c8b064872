"""`manifest.json` beside a data set: how its crops were made, and the names of its identities."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeVar

from frfw.data.preprocessing import Preprocessing
from frfw.errors import FrfwError

MANIFEST = "manifest.json"
_KINDS = {int: "a whole number", list: "a list", dict: "an object"}
T = TypeVar("T")
UNFINISHED = "align.partial"  # in a folder of crops that is still being written


def read_entries(folder: Path) -> dict[str, Any]:
    """Return the manifest's entries, {} where there is none; FrfwError where it is damaged."""
    path = folder / MANIFEST
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise FrfwError(f"{path} cannot be read ({error}): repair or remove it") from error
    if not isinstance(entries, dict):
        raise FrfwError(f"{path} does not hold a JSON object: repair or remove it")
    return entries


def read_entry(folder: Path, key: str, kind: type[T]) -> T | None:
    """Return one of the manifest's entries, None where it is missing or null.

    Raises:
        FrfwError: the manifest is damaged, or the entry is of another kind (int, list or dict).
    """
    value = read_entries(folder).get(key)
    if value is None or (isinstance(value, kind) and not isinstance(value, bool)):
        return value
    raise FrfwError(
        f"{folder / MANIFEST}, key {key}: it should be {_KINDS[kind]}, not "
        f"{json.dumps(value)[:60]}; repair or remove it"
    )


def state_pack(pack: Path, preprocessing: Preprocessing | None) -> None:
    """Write into the manifest beside a verification pack how its crops were made (None: unknown).

    Under `packs`, by the pack's name: several packs and a training set may share a folder.
    """
    entries = read_entries(pack.parent)
    stated = read_entry(pack.parent, "packs", dict) or {}
    packs = {k: v for k, v in stated.items() if k != pack.name}
    if preprocessing is not None and preprocessing.alignment:
        packs[pack.name] = preprocessing.to_dict()
    if packs == stated:
        return
    temporary = pack.with_name(f"{MANIFEST}-{os.getpid()}.partial")
    temporary.write_text(json.dumps({**entries, "packs": packs}, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, pack.parent / MANIFEST)


def read_manifest(folder: Path) -> Preprocessing | None:
    """Return the pre-processing that the manifest states, or None."""
    values = read_entry(folder, "preprocessing", dict)
    if values is None:
        return None
    try:
        return Preprocessing.from_dict(values)
    except (FrfwError, TypeError, ValueError) as error:
        raise FrfwError(f"{folder / MANIFEST}, key preprocessing: {error}") from error
