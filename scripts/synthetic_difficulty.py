"""Measure how hard a synthetic data set is for raw pixels: `python scripts/synthetic_difficulty.py
data/synthetic`.

PCA is fitted on the training images, a pair is scored by the cosine of its two projections, and the
accuracy is that of ten-fold verification (the best threshold of nine folds applied to the tenth).
Several sizes of pictures and numbers of components are tried and the best is what counts, so that
the figure is not flattered by a poor baseline.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from frfw.command import run
from frfw.data import open_source, read_pack
from frfw.errors import FrfwError
from frfw.evaluation import verify

SIDES = (28, 56)
COMPONENTS = (30, 100, 300)


def pixels(images: Iterator[np.ndarray], side: int, grey: bool) -> np.ndarray:
    """Return (N, D) float32 rows of RGB or grey pictures scaled to ``side``."""
    rows = []
    for image in images:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if grey else image
        rows.append(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).ravel())
    return np.stack(rows).astype(np.float32)


def decode(jpegs: list[bytes]) -> list[np.ndarray]:
    """Decode to uint8 RGB."""
    read = (cv2.imdecode(np.frombuffer(j, np.uint8), cv2.IMREAD_COLOR) for j in jpegs)
    return [image[..., ::-1] for image in read]


def principal_axes(x: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (D,) and the (D, count) leading axes of (N, D) rows."""
    mean = x.mean(0)
    x = x - mean
    if len(x) >= x.shape[1]:
        values, vectors = np.linalg.eigh((x.T @ x).astype(np.float64))
        return mean, vectors[:, ::-1][:, :count].astype(np.float32)
    # Fewer pictures than pixels: the small product of pictures has the same axes.
    values, vectors = np.linalg.eigh((x @ x.T).astype(np.float64))
    keep = np.flatnonzero(values > 1e-6 * values.max())[::-1][:count]
    axes = x.T @ vectors[:, keep].astype(np.float32)
    return mean, axes / np.linalg.norm(axes, axis=0)


def measure(folder: Path, most: int = 2000) -> dict[str, dict[str, float]]:
    """Return set name -> variant name -> accuracy in percent of cosine on PCA.

    Args:
        folder: a data set of `frfw.synthesize`.
        most: training images to fit on, evenly spread.
    """
    packs = {path.stem: read_pack(path) for path in sorted(folder.glob("*.bin"))}
    if not packs:
        raise FrfwError(
            f"{folder} holds no .bin: draw it with python -m frfw.synthesize out={folder}"
        )
    source = open_source(folder)
    chosen = np.unique(np.linspace(0, len(source) - 1, min(most, len(source))).astype(int))
    train = [source[int(k)] for k in chosen]
    pictures = {name: decode(pack.images) for name, pack in packs.items()}
    found: dict[str, dict[str, float]] = {name: {} for name in packs}
    for side in SIDES:
        for grey in (False, True):
            x = pixels(iter(train), side, grey)
            mean, axes = principal_axes(x, max(COMPONENTS))
            for name, pack in packs.items():
                projected = (pixels(iter(pictures[name]), side, grey) - mean) @ axes
                for count in COMPONENTS:
                    part = projected[:, :count]
                    part = part / np.linalg.norm(part, axis=1, keepdims=True)
                    result = verify(part[0::2], part[1::2], pack.same)
                    kind = f"{'grey' if grey else 'rgb'} {side}x{side}, {count}"
                    found[name][kind] = 100 * result.accuracy
    return found


def main() -> None:
    """Print a table of the best variant of each set."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("folder", type=Path, help="folder of python -m frfw.synthesize")
    parser.add_argument("--all", action="store_true", help="print every variant")
    options = parser.parse_args()
    found = measure(options.folder)
    print(f"{'set':12s} {'accuracy':>8s}  picture, components")
    for name, variants in found.items():
        shown = variants if options.all else {max(variants, key=lambda k: variants[k]): 0}
        for kind in shown:
            print(f"{name:12s} {variants[kind]:7.2f}%  {kind}")


if __name__ == "__main__":
    run(main)
