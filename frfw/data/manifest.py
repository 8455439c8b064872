"""`manifest.json` beside a data set: how its crops were made, and the names of its identities."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from frfw.data.preprocessing import Preprocessing
from frfw.errors import FrfwError

MANIFEST = "manifest.json"
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


def state_pack(pack: Path, preprocessing: Preprocessing | None) -> None:
    """Write into the manifest beside a verification pack how its crops were made (None: unknown).

    Under `packs`, by the pack's name: several packs and a training set may share a folder.
    """
    entries = read_entries(pack.parent)
    packs = {k: v for k, v in entries.get("packs", {}).items() if k != pack.name}
    if preprocessing is not None and preprocessing.alignment:
        packs[pack.name] = preprocessing.to_dict()
    if packs == entries.get("packs", {}):
        return
    temporary = pack.with_name(f"{MANIFEST}-{os.getpid()}.partial")
    temporary.write_text(json.dumps({**entries, "packs": packs}, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, pack.parent / MANIFEST)


def read_manifest(folder: Path) -> Preprocessing | None:
    """Return the pre-processing that the manifest states, or None."""
    values = read_entries(folder).get("preprocessing")
    if values is None:
        return None
    try:
        return Preprocessing.from_dict(values)
    except (TypeError, ValueError) as error:
        raise FrfwError(f"{folder / MANIFEST}, key preprocessing: {error}") from error
