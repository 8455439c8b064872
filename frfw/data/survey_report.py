"""A survey in words and as a picture."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from frfw.data.dataset import Dataset
from frfw.data.decode import BadImage, resize
from frfw.data.survey import Survey
from frfw.data.template import ARCFACE
from frfw.errors import FrfwError

_BINS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".pdf", ".svg")


def report_lines(dataset: Dataset, found: Survey) -> list[str]:
    """Say what the survey found, line by line."""
    per = found.per_identity
    lines = [
        f"{dataset.name}: {found.images} images of {found.identities} identities "
        f"({found.looked_at} images looked at)",
        f"images per identity: least {per.min()}, median {int(np.median(per))}, most {per.max()}",
        *_histogram(per),
        "sizes: " + ", ".join(f"{w}x{h} ({n})" for (h, w), n in found.sizes.most_common(5)),
        f"unreadable images: {len(found.bad)}",
        *(f"  {text}" for text in list(found.bad.values())[:5]),
        f"exact duplicates: {_extra(found.exact)} images; near duplicates: {_extra(found.near)}; "
        f"groups across identities: {len(found.mixed)}",
        *("  " + " = ".join(dataset.locate(i) for i in g[:3]) for g in found.mixed[:5]),
        "alignment, mean face against the template in pixels of 112: "
        + ", ".join(f"{k} {x:+.1f} {y:+.1f}" for k, (x, y) in found.offsets.items())
        + f"; eye contrast {found.contrast:.0f}",
        *_stated(dataset),
        _channels(found),
    ]
    lines += [f"warning: {text}" for text in found.warnings]
    return lines


def _channels(found: Survey) -> str:
    if not found.coloured:
        return "channel order: cannot be told, the images are grey"
    word = "as RGB faces are" if found.red_share >= 0.65 else "unusual for faces"
    return f"channel order: {found.red_share:.0%} of the faces redder than blue, {word}"


def _stated(dataset: Dataset) -> list[str]:
    """The manifest's word on the crops, before which the mean face is a hint only."""
    entries = dataset.preprocessing.alignment
    words = ", ".join(f"{k} {v}" for k, v in entries.items())
    return [f"  the manifest states: {words}; the mean face is a hint only"] if entries else []


def _histogram(per: np.ndarray) -> list[str]:
    lines = []
    for low, high in zip(_BINS, [b - 1 for b in _BINS[1:]] + [10**12]):
        count = int(((per >= low) & (per <= high)).sum())
        if count:
            span = str(low) if low == high else f"{low}-{high}" if high < 10**12 else f"{low}+"
            lines.append(f"  {span:>8}: {count}")
    return lines


def _extra(groups: list[list[int]]) -> int:
    return sum(len(group) - 1 for group in groups)


def check_picture(path: Path) -> None:
    """Refuse a picture that cannot be written, before the set is looked at."""
    if not path.parent.is_dir():
        raise FrfwError(f"--picture {path}: there is no such folder")
    if path.is_dir():
        raise FrfwError(f"--picture {path} is a folder: give a file, as in {path / 'inspect.png'}")
    if path.suffix.lower() not in _PICTURES:
        raise FrfwError(f"--picture {path}: its name should end in {', '.join(_PICTURES)}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise FrfwError(f"--picture {path} cannot be written there: give another place")


def draw_picture(dataset: Dataset, found: Survey, path: str | Path) -> None:
    """Draw mean face with the template's points, the histogram, and a sheet of images."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    mean, histogram, sheet = figure.subplots(1, 3, width_ratios=[1, 1, 1.6])
    mean.imshow(np.clip(found.mean_face / 255, 0, 1))
    mean.scatter(ARCFACE[:, 0], ARCFACE[:, 1], marker="+", color="red")
    mean.set_title("mean face, + template", fontsize=9)
    mean.axis("off")
    top = max(2, int(found.per_identity.max()))
    edges = np.unique(np.geomspace(1, top + 1, 25).astype(int))
    histogram.hist(found.per_identity, bins=edges)
    histogram.set(xscale="log", xlabel="images per identity", ylabel="identities")
    sheet.imshow(_sheet(dataset))
    sheet.set_title("images spread over the set", fontsize=9)
    sheet.axis("off")
    figure.savefig(path, dpi=80)


def _sheet(dataset: Dataset, rows: int = 4, columns: int = 6, side: int = 64) -> np.ndarray:
    tiles = np.zeros((rows * columns, side, side, 3), np.uint8)
    for tile, index in zip(tiles, np.linspace(0, len(dataset) - 1, len(tiles)).astype(int)):
        try:
            tile[:] = resize(dataset[int(index)], side)
        except BadImage:
            tile[:] = (255, 0, 255)
    grid = tiles.reshape(rows, columns, side, side, 3).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * side, columns * side, 3)
