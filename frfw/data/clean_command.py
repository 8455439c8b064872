"""`python -m frfw.data clean`: arguments in, findings out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from frfw.data.commands import Tools, add_source, bar_of, open_arguments, progress_of
from frfw.data.dataset import Dataset
from frfw.data.source import open_source
from frfw.data.verification_pack import PackImages

if TYPE_CHECKING:
    from frfw.data.clean import Embed, Findings


def add_clean(tools: Tools) -> None:
    tool = tools.add_parser("clean", help="list what is probably wrong; deletes nothing")
    add_source(tool)
    tool.add_argument("--model", required=True, help="run folder or checkpoint for the embeddings")
    tool.add_argument("--against", help="data set or .bin whose identities must not be in it")
    tool.add_argument("--out", default="clean", help="folder for patch.csv and worst.png")
    tool.add_argument("--outlier", type=float, default=0.2, help="cosine to the identity's centre")
    tool.add_argument("--merge", type=float, default=0.75, help="cosine between two centres")
    tool.add_argument("--duplicate", type=float, default=0.97, help="cosine between two images")
    tool.add_argument(
        "--subcenters",
        type=float,
        nargs="?",
        const=75.0,
        metavar="DEGREES",
        help="also judge the training set of a loss=subcenter_arcface run by its sub-centres",
    )
    tool.set_defaults(call=_clean)


def _clean(arguments: argparse.Namespace) -> None:
    import frfw
    from frfw.data.clean import find_faults, write_patch
    from frfw.data.clean_picture import draw_worst

    a = arguments
    model = frfw.load(a.model)
    dataset = open_arguments(a, model.preprocessing.size)
    for line in model.preprocessing.alignment_differences(dataset.preprocessing):
        print(f"warning: model and data disagree in {line}")
    held = _open_against(a.against, dataset.size) if a.against else None
    embeddings = _embed(dataset, model.embed)
    against = _embed(held, model.embed) if held is not None else None
    limits = {"outlier": a.outlier, "merge": a.merge, "duplicate": a.duplicate}
    found = find_faults(embeddings, dataset.labels, against=against, **limits)
    out = Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    if a.subcenters is not None:
        _subcenters(a.subcenters, model.path, dataset, embeddings, found, out)
    count = write_patch(dataset, found, out / "patch.csv")
    draw_worst(dataset, found, out / "worst.png", against=held)
    print(
        f"{len(found.outliers)} outliers, {len(found.duplicates)} repeated images, "
        f"{len(found.crossing)} that are in two identities, "
        f"{len(found.merges)} pairs of identities that are probably one person, "
        f"{len(found.overlaps)} identities in the evaluation set"
    )
    print(f"{out / 'patch.csv'}: {count} rows; apply with data.patch={out / 'patch.csv'}")


def _open_against(path: str, size: int) -> Dataset:
    """An evaluation set: a `.bin` or any source."""
    if path.endswith(".bin"):
        return PackImages(path, size)
    return open_source({"path": path, "size": size})


def _embed(dataset: Dataset, embed: Embed) -> np.ndarray:
    from frfw.data.clean import embed_dataset

    with bar_of(len(dataset), f"embed {dataset.name}") as bar:
        embeddings = embed_dataset(dataset, embed, progress=progress_of(bar))
    bad = int((np.abs(embeddings).sum(1) == 0).sum())
    if bad:
        print(f"{dataset.name}: {bad} of {len(dataset)} images are unreadable and left out")
    return embeddings


def _subcenters(
    max_angle: float,
    checkpoint: Path,
    dataset: Dataset,
    embeddings: np.ndarray,
    found: Findings,
    out: Path,
) -> None:
    from frfw.data.subcenters import judge, write_identities

    report = judge(checkpoint, dataset, embeddings, max_angle)
    listed = {image for image, _ in found.outliers}
    angles = ((int(i), float(report.angle[i])) for i in report.noisy.nonzero()[:, 0])
    found.noisy = sorted((p for p in angles if p[0] not in listed), key=lambda pair: -pair[1])
    write_identities(report, dataset, out / "subcenters.csv")
    print(
        f"{int(report.noisy.sum())} images above {max_angle:g} degrees from the dominant "
        f"sub-centre of their identity; by identity: {out / 'subcenters.csv'}"
    )
