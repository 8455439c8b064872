"""AgeDB: faces of known age, and its 30-year protocol (Moschoglou et al., CVPR workshops 2017)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from frfw.data.decode import IMAGE_SUFFIXES
from frfw.data.layouts.common import (
    PairList,
    Row,
    beside,
    collect,
    folder_with,
    inside,
    with_suffix,
)
from frfw.data.layouts.listed import read_pair_csv
from frfw.errors import FrfwError

PROTOCOL = "04_FINAL_protocol_30_years.mat"
_CSV = "agedb_30.csv"
# `12_MariaCallas_35_f`, and among the protocol's images `0_MariaCallas_12_35_f`.
_NAME = re.compile(r"\d+_(?P<person>.+?)(?:_\d+)?_(?P<age>\d+)_[fm]", re.IGNORECASE)


def read_agedb(
    images: str | Path, pairs: str | Path | None = None, skip_missing: bool = False
) -> PairList:
    """Read AgeDB's pairs, from its own MATLAB protocol or from a CSV.

    Args:
        images: folder of the images, or the one above it.
        pairs: the protocol: AgeDB's `.mat` (ten folds of names, with 1 for same and -1 for
            different pairs), or a CSV as `read_pair_csv` reads it. By default `agedb_30.csv` or
            `04_FINAL_protocol_30_years.mat` in the folder or beside it.
        skip_missing: leave out pairs whose images are missing.

    Raises:
        FrfwError: a file is missing, or not as described.
    """
    images = Path(images)
    listed = Path(pairs) if pairs else beside(images, _CSV) or beside(images, PROTOCOL)
    if listed is None:
        raise FrfwError(
            f"{images} has neither {PROTOCOL} (AgeDB's own protocol, from its authors) nor {_CSV} "
            f"in it or beside it: give one with --protocol, or draw pairs with `pairs draw-agedb`"
        )
    if listed.suffix.lower() == ".mat":
        return _read_mat(images, listed, skip_missing)
    found = read_pair_csv(listed, images, skip_missing)
    found.name = "agedb_30"
    return found


def _read_mat(images: Path, path: Path, skip_missing: bool) -> PairList:
    listed = list(_mat_pairs(path))
    root = folder_with(images, [f"{name}.jpg" for name, *_ in listed[:50]])
    rows: list[Row] = []
    for a, b, same, fold in listed:
        where = f"{path}, fold {fold + 1}"
        rows.append((*(with_suffix(inside(root, n, where)) for n in (a, b)), same, fold))
    return collect("agedb_30", rows, skip_missing=skip_missing)


def _mat_pairs(path: Path) -> Iterator[tuple[str, str, bool, int]]:
    """Yield (name, name, same, fold) of `splits`: a cell a fold, in it a struct of two fields.

    The first field is a 2 x P cell of structs whose first field is an image's name, the second one
    holds P labels, 1 or -1.
    """
    try:
        for fold, cell in enumerate(_splits(path)):
            names, labels = cell[0, 0][0], np.asarray(cell[0, 0][1]).ravel()
            if names.shape != (2, len(labels)):
                raise ValueError(f"fold {fold + 1} has names {names.shape}, labels {labels.shape}")
            for column, label in enumerate(labels.tolist()):
                if label not in (1, -1):
                    raise ValueError(f"fold {fold + 1} has the label {label!r}, neither 1 nor -1")
                yield _text(names[0, column]), _text(names[1, column]), label == 1, fold
    except FrfwError:
        raise  # it says already what is wrong
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise FrfwError(f"{path} is not AgeDB's protocol as published: {error}") from error


def _splits(path: Path) -> np.ndarray:
    from scipy.io import loadmat  # slow to import, so only here

    try:
        content = loadmat(str(path), variable_names=["splits"])
    except FileNotFoundError as error:
        raise FrfwError(f"{path} is missing") from error
    except NotImplementedError as error:
        raise FrfwError(f"{path} is a MATLAB 7.3 file: save it in MATLAB with -v7") from error
    except Exception as error:  # a damaged file raises nearly anything in there
        raise FrfwError(f"{path} cannot be read as a MATLAB file: {error}") from error
    if "splits" not in content:
        raise FrfwError(f"{path} is not AgeDB's protocol as published: it has no variable splits")
    return np.asarray(content["splits"]).reshape(-1)


def _text(entry: Any) -> str:
    return str(entry[0, 0][0].reshape(-1)[0])


def agedb_images(images: Path) -> list[tuple[Path, str, int]]:
    """List (file, person, age) of AgeDB's images, in order of their names.

    Raises:
        FrfwError: a file name is not `number_name_age_gender`, or there is none.
    """
    if not images.is_dir():
        raise FrfwError(f"{images} is not a folder")
    found = []
    for path in sorted(images.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        match = _NAME.fullmatch(path.stem)
        if match is None:
            raise FrfwError(f"{path} is not named number_name_age_gender as AgeDB's images are")
        found.append((path, match["person"], int(match["age"])))
    if not found:
        raise FrfwError(f"{images} holds no image named as AgeDB's are")
    return found


def agedb_person(stem: str) -> str:
    """The person on an image, by its file name without suffix."""
    match = _NAME.fullmatch(stem)
    return match["person"] if match else stem
