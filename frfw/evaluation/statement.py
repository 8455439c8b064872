"""Whether evaluation images were cropped as the network's training images were."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frfw.data.manifest import read_entries, read_manifest
from frfw.data.preprocessing import Preprocessing


def disagreements(model: Preprocessing, sets: Mapping[str, Any]) -> list[str]:
    """Say, one line a set, where its manifest and the network's pre-processing disagree.

    A set without a manifest, or a manifest without an alignment, disagrees with nothing.

    Args:
        model: what the network was trained with.
        sets: by name, a path or a mapping with `path` (and `images`), as `load_pairs` takes it.
    """
    lines = []
    for name, source in sets.items():
        stated = stated_preprocessing(source)
        different = model.alignment_differences(stated) if stated else []
        if different:
            lines.append(
                f"{name} was cropped another way than the network's training images "
                f"({'; '.join(different)}): its figures are for these crops"
            )
    return lines


def stated_preprocessing(source: Any) -> Preprocessing | None:
    """Return what is stated of a set's crops: of a pack by name, of images by their folder."""
    options = source if isinstance(source, Mapping) else {"path": source}
    for key in ("images", "path"):
        value = options.get(key)
        if not isinstance(value, str | Path) or not Path(value).exists():
            continue
        path = Path(value)
        if path.suffix == ".bin":
            return _of_pack(path)
        stated = read_manifest(path if path.is_dir() else path.parent)
        if stated is not None:
            return stated
    return None


def _of_pack(path: Path) -> Preprocessing | None:
    entries = read_entries(path.parent)
    packs = entries.get("packs")
    if isinstance(packs, dict) and path.name in packs:
        return Preprocessing.from_dict(packs[path.name])
    # A manifest speaks of the training images beside it; only synthetic packs are made with them.
    return read_manifest(path.parent) if "synthetic" in entries else None
