"""Draw a contact sheet of an augmentation preset.

python scripts/augment_sheets.py DATA OUT_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from frfw.data import create_augment, open_source
from frfw.data.decode import encode, resize
from frfw.data.randomness import sample_keys

ROWS, COLUMNS, SIDE = 3, 8, 52


def sheet(dataset, preset: str) -> np.ndarray:
    """Return the same images, spread over the set, under one preset."""
    augment = create_augment(preset, dataset.size)
    indices = np.linspace(0, len(dataset) - 1, ROWS * COLUMNS).astype(np.int64)
    keys = sample_keys(3, np.zeros(len(indices), np.int64), indices)
    tiles = [resize(augment(dataset[int(i)], int(k)), SIDE) for i, k in zip(indices, keys)]
    grid = np.stack(tiles).reshape(ROWS, COLUMNS, SIDE, SIDE, 3)
    return grid.transpose(0, 2, 1, 3, 4).reshape(ROWS * SIDE, COLUMNS * SIDE, 3)


def main() -> None:
    """Write one PNG a preset."""
    dataset, out = open_source(sys.argv[1]), Path(sys.argv[2])
    for preset in ("flip", "standard", "degraded"):
        data = encode(sheet(dataset, preset), ".png")
        (out / f"augment_{preset}.png").write_bytes(data)


if __name__ == "__main__":
    main()
