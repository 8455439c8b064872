"""The lists of IJB-B and IJB-C, as insightface lays them out (`meta/ijbc_face_tid_mid.txt` ...)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from frfw.errors import FrfwError

_CHUNK = 1 << 20  # pairs read at a time
_WHOLE, _NUMBER = r"-?\d+", r"-?\d+(\.\d*)?([eE][-+]?\d+)?"
_MEDIA = re.compile(rf"\S+\s+{_WHOLE}\s+{_WHOLE}\s*")
_DETECTION = re.compile(rf"\S+(\s+{_NUMBER}){{11}}\s*")
_PAIR = re.compile(r"\d+ \d+ [01]( .*)?\s*")
_SUBJECT = re.compile(r"\s*\d+\s*,\s*\d+\s*(,.*)?")


@dataclass(frozen=True)
class Media:
    """`face_tid_mid.txt`: which image belongs to which template and medium.

    Attributes:
        names: (M,) image files, in the order of the embeddings.
        templates, media: (M,) int64.
    """

    names: NDArray[np.str_]
    templates: NDArray[np.int64]
    media: NDArray[np.int64]

    def select(self, chosen: NDArray[Any]) -> Media:
        """Return the media at these places."""
        return Media(self.names[chosen], self.templates[chosen], self.media[chosen])


def read_media(path: str | Path) -> Media:
    """Read `<image> <template> <medium>` lines; FrfwError if they are not so, with the line."""
    table = _table(Path(path), ["image", "template", "medium"], np.int64, _MEDIA)
    names = table["image"].to_numpy(str)
    return Media(names, table["template"].to_numpy(), table["medium"].to_numpy())


def read_detections(path: str | Path) -> tuple[NDArray[np.str_], NDArray, NDArray]:
    """Read `<image> x1 y1 .. x5 y5 score` lines: (M,) names, (M, 5, 2) points, (M,) scores.

    Raises:
        FrfwError: a line is not so, a value is not a number, a score is negative, an image has
            two lines that differ; the line is named.
    """
    path = Path(path)
    points = [f"{axis}{i}" for i in range(1, 6) for axis in "xy"]
    table = _table(path, ["image", *points, "score"], np.float64, _DETECTION)
    scores = table["score"].to_numpy()
    bad = ~np.isfinite(table[[*points, "score"]].to_numpy()).all(axis=1) | (scores < 0)
    if bad.any():
        raise FrfwError(
            f"{path}, line {int(np.argmax(bad)) + 1}: a point or the detector score is missing, "
            "not a number or negative; detect this face again or drop its image from the lists"
        )
    differing = table.drop_duplicates()["image"].duplicated()
    if differing.any():
        image = table["image"][differing.index[differing.argmax()]]
        at = np.flatnonzero(table["image"] == image)
        raise FrfwError(
            f"{path}: lines {at[0] + 1} and {at[-1] + 1} differ about {image}; keep one of them"
        )
    return table["image"].to_numpy(str), table[points].to_numpy().reshape(-1, 5, 2), scores


def read_subjects(path: str | Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read a 1:N list (`ijbc_1N_gallery_G1.csv`): TEMPLATE_ID, SUBJECT_ID, then anything.

    A template has a line for each of its images; each comes back once.

    Raises:
        FrfwError: a line is not so, no line, a template of two subjects.
    """
    path = Path(path)
    try:
        table = pd.read_csv(path, usecols=[0, 1], dtype=np.int64)
    except (OSError, ValueError) as error:
        _refuse(path, "TEMPLATE_ID,SUBJECT_ID", _SUBJECT, error, header=True)
    pairs = np.unique(table.to_numpy(), axis=0)
    if not len(pairs):
        raise FrfwError(f"{path} lists no template")
    ids, count = np.unique(pairs[:, 0], return_counts=True)
    if (count > 1).any():
        twice = ids[np.argmax(count > 1)]
        lines = np.flatnonzero(table.iloc[:, 0].to_numpy() == twice) + 2
        raise FrfwError(
            f"{path}: template {twice} has two subjects (lines {', '.join(map(str, lines[:4]))}); "
            "correct one of them"
        )
    return pairs[:, 0], pairs[:, 1]


def read_template_pairs(path: str | Path) -> Iterator[NDArray[np.int32]]:
    """Yield (N, 3) pieces of template, template, label; FrfwError names a line that is not so."""
    path = Path(path)
    try:
        reader = pd.read_csv(
            path, sep=" ", header=None, usecols=[0, 1, 2], dtype=np.int32, chunksize=_CHUNK
        )
        with reader:
            for table in reader:
                chunk = table.to_numpy()
                if not np.isin(chunk[:, 2], (0, 1)).all():
                    raise ValueError("a label is neither 0 nor 1")
                yield chunk
    except (OSError, ValueError) as error:
        _refuse(path, "template template 0|1", _PAIR, error)


def _table(path: Path, columns: list[str], kind: type, line: re.Pattern[str]) -> pd.DataFrame:
    """Read lines of an image's name and numbers; no name, "NA" for one, means a missing value."""
    kinds = {columns[0]: str, **dict.fromkeys(columns[1:], kind)}
    try:
        table = pd.read_csv(
            path, sep=r"\s+", header=None, names=columns, dtype=kinds, index_col=False,
            keep_default_na=False,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        _refuse(path, " ".join(columns), line, error)
    if not len(table):
        raise FrfwError(f"{path} lists no image")
    return table


def _refuse(
    path: Path, form: str, line: re.Pattern[str], error: Exception, header: bool = False
) -> NoReturn:
    """Name the first line that does not fit; only a file that was refused is read this way."""
    if isinstance(error, OSError):
        raise FrfwError(f"{path} cannot be read: {error.strerror or error}") from error
    with path.open(encoding="utf-8", errors="replace") as file:
        for at, text in enumerate(file, 1):
            read = text.strip() and not (header and at == 1)
            if read and not line.fullmatch(text.rstrip("\r\n")):
                shown = repr(text.rstrip("\r\n")[:60])
                raise FrfwError(f"{path}, line {at}: {shown} is not `{form}`") from error
    raise FrfwError(f"{path}: not lines of `{form}` ({error})") from error
