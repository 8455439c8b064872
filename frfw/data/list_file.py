"""A list of images: CSV or Parquet with the columns path, identity and optionally landmarks."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from frfw.data.decode import BadImage
from frfw.data.index_cache import Arrays, IndexedDataset
from frfw.data.manifest import read_manifest
from frfw.data.preprocessing import Preprocessing
from frfw.data.strings import StringColumn
from frfw.errors import FrfwError, nearest

if TYPE_CHECKING:
    import pandas as pd  # seconds to import, so at run time only where a list is read

LANDMARKS = [f"{axis}{point}" for point in range(1, 6) for axis in "xy"]


class ListDataset(IndexedDataset):
    """Images that a CSV or Parquet file lists.

    Columns: `path` (relative to `root`, by default the list's folder; absolute paths are taken as
    they are), `identity` (any text or number), optionally x1, y1 ... x5, y5 (five landmarks in
    pixels of the image) and `group` (kept in `.groups`, N strings).

    Attributes:
        landmarks: (N, 5, 2) float32 or None.

    Raises:
        FrfwError: the file cannot be read, a column is missing, a value is empty, a relative path
            leads out of `root`, or there are fewer than two rows.
    """

    def __init__(
        self, path: str | Path, size: int | None = None, root: str | Path | None = None
    ) -> None:
        path = Path(path)
        self.name, self.root = path.stem, Path(root) if root else path.parent
        self.open_index(path.name, [path], lambda: self._read_index(path, _read(path)))
        self.preprocessing = read_manifest(path.parent) or Preprocessing(size=size or 112)
        self.size = size or self.preprocessing.size

    @property
    def _paths(self) -> StringColumn:
        return StringColumn.read(self.arrays, "paths")

    @property
    def identity_names(self) -> StringColumn:  # type: ignore[override]
        return StringColumn.read(self.arrays, "identities")

    @property
    def groups(self) -> StringColumn | None:
        return StringColumn.read(self.arrays, "groups") if "groups_data" in self.arrays else None

    @property
    def landmarks(self) -> np.ndarray | None:
        return self.arrays.get("landmarks")

    def _read_index(self, path: Path, table: pd.DataFrame) -> Arrays:
        try:
            return self._arrays(path, table)
        except UnicodeDecodeError as error:  # pandas decodes a Parquet file's text when it is used
            raise FrfwError(f"{path} is damaged: {error}") from error

    def _arrays(self, path: Path, table: pd.DataFrame) -> Arrays:
        import pandas as pd

        for column in ("path", "identity"):
            if column not in table:
                raise FrfwError(f"{path} has no column {column!r}.{nearest(column, table.columns)}")
            empty = np.flatnonzero(table[column].isna().to_numpy())
            if len(empty):
                raise FrfwError(f"{path}, row {empty[0] + 1}: {column} is empty")
        if len(table) < 2:
            raise FrfwError(f"{path} lists {len(table)} images: nothing to train on")
        paths = table["path"].astype(str)
        self._check_paths(path, paths)
        codes, names = pd.factorize(table["identity"].astype(str), sort=True)
        arrays = {"labels": codes.astype(np.int64)}
        arrays |= StringColumn.of(paths).arrays("paths")
        arrays |= StringColumn.of(names).arrays("identities")
        landmarks = _landmarks(path, table)
        if landmarks is not None:
            arrays["landmarks"] = landmarks
        if "group" in table:
            arrays |= StringColumn.of(table["group"].fillna("").astype(str)).arrays("groups")
        return arrays

    def _check_paths(self, where: Path, paths: pd.Series) -> None:
        climbing = paths.str.contains(r"(?:^|[/\\])\.\.(?:[/\\]|$)", regex=True).to_numpy()
        if climbing.any():
            row = int(np.argmax(climbing))
            raise FrfwError(f"{where}, row {row + 1}: {paths[row]!r} leads out of {self.root}")

    def read(self, index: int) -> bytes:
        try:
            with open(os.path.join(self.root, self._paths[index]), "rb") as file:
                return file.read()
        except (OSError, ValueError) as error:
            raise BadImage(f"it cannot be read: {error}") from error

    def locate(self, index: int) -> str:
        return str(self.root / self._paths[index])

    def _content_digest(self) -> bytes:
        digest = hashlib.blake2b(np.ascontiguousarray(self._paths.data))
        digest.update(np.ascontiguousarray(self._paths.offsets))
        return digest.digest()


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        text = {"identity": str, "path": str, "group": str}
        # An identity may be called NA or null; only what is empty is missing.
        options = {"keep_default_na": False, "na_values": [""], "skipinitialspace": True}
        return pd.read_csv(path, dtype=text, **options)
    except FileNotFoundError as error:
        raise FrfwError(f"{path} is missing") from error
    except Exception as error:  # a damaged Parquet file raises nearly anything in there
        raise FrfwError(f"{path} cannot be read as a table: {error}") from error


def _landmarks(path: Path, table: pd.DataFrame) -> np.ndarray | None:
    present = [column for column in LANDMARKS if column in table]
    if not present:
        return None
    if len(present) < len(LANDMARKS):
        missing = sorted(set(LANDMARKS) - set(present))
        raise FrfwError(f"{path} has some landmark columns but not {', '.join(missing)}")
    try:
        values = table[LANDMARKS].to_numpy(np.float32)
    except ValueError as error:
        raise FrfwError(f"{path}: a landmark is no number: {error}") from error
    return values.reshape(-1, 5, 2)
