"""A gallery or probe set: whose image each is, from folders or from a list."""

from __future__ import annotations

import logging
from pathlib import Path

from frfw.data.decode import IMAGE_SUFFIXES
from frfw.data.layouts.common import inside, list_missing
from frfw.data.layouts.rows import read_rows
from frfw.errors import FrfwError, nearest

log = logging.getLogger("frfw.evaluation")

Entry = tuple[Path, str, str]  # image, identity, and where it is said


def read_people(
    source: str | Path, skip_missing: bool = False, allow_duplicates: bool = False
) -> tuple[list[Path], list[str]]:
    """Read a gallery or probe set: a folder with one sub-folder an identity, or a CSV.

    The CSV has the columns `path, identity`; paths are absolute or relative to its folder.

    Args:
        source: the folder or the CSV.
        skip_missing: leave out images of the CSV that are missing instead of refusing it.
        allow_duplicates: take an image each time that it comes instead of refusing the set.

    Returns:
        Image files and the identity of each.

    Raises:
        FrfwError: nothing there, no image, a missing image, column or cell, an image that comes
            twice.
    """
    source = Path(source)
    entries = _from_folder(source) if source.is_dir() else _from_list(source, skip_missing)
    if not allow_duplicates:
        _check_duplicates(source, entries)
    return [file for file, _, _ in entries], [who for _, who, _ in entries]


def _from_folder(source: Path) -> list[Entry]:
    files = sorted(p for p in source.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not files or any(file.parent == source for file in files):
        raise FrfwError(f"{source}: needs one sub-folder an identity, with images in it")
    return [(file, file.relative_to(source).parts[0], str(file)) for file in files]


def _from_list(source: Path, skip_missing: bool) -> list[Entry]:
    columns, rows = read_rows(source)
    for needed in ("path", "identity"):
        if needed not in columns:
            raise FrfwError(
                f"{source} has no column {needed!r}; it needs path and identity."
                f"{nearest(needed, columns)}"
            )
    entries = []
    for at, row in rows:
        for key in ("path", "identity"):
            if not row[key]:
                raise FrfwError(f"{source}, line {at}: {key} is empty")
        path = Path(row["path"])
        file = path if path.is_absolute() else inside(source.parent, row["path"], str(source))
        entries.append((file, row["identity"], f"line {at}"))
    there = [entry for entry in entries if entry[0].is_file()]
    missing = [str(entry[0]) for entry in entries if not entry[0].is_file()]
    if missing and not skip_missing:
        raise FrfwError(f"{source}: {list_missing(missing, len(entries))}")
    if not there:
        raise FrfwError(f"{source} lists no image" + (" that is here" if entries else ""))
    if missing:
        log.warning("%s: %d of %d images are missing", source, len(missing), len(entries))
    return there


def _check_duplicates(source: Path, entries: list[Entry]) -> None:
    """Refuse a set that holds an image twice, under one identity or two."""
    seen: dict[Path, Entry] = {}
    for entry in entries:
        file, who, where = entry
        first = seen.setdefault(file.resolve(), entry)
        if first is entry:
            continue
        if first[1] != who:
            raise FrfwError(
                f"{source}: {where} says that {file} is {who}, {first[2]} that it is {first[1]}; "
                "correct one of them, or set allow_duplicates=true to take both"
            )
        raise FrfwError(
            f"{source}: {where} is {first[2]} again ({file}, {who}); remove it, or set "
            "allow_duplicates=true to take it each time"
        )
