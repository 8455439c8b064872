"""`python -m frfw.calibrate RUN --pairs PAIRS --far 1e-4`: threshold and likelihood ratios."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from frfw.command import run

if TYPE_CHECKING:
    from frfw.embedder import Embedder
    from frfw.evaluation.calibration import Calibration


def parser() -> argparse.ArgumentParser:
    """Return the command's arguments."""
    p = argparse.ArgumentParser(
        prog="python -m frfw.calibrate",
        description="Choose the threshold for a false accept rate and fit the map from cosine to "
        "likelihood ratio; write calibration.json beside the model.",
    )
    p.add_argument("model", metavar="RUN", help="run folder or checkpoint file")
    p.add_argument(
        "--pairs", required=True, help="a .bin pack, .csv, .npz, or a folder in a known layout"
    )
    p.add_argument("--far", type=float, required=True, help="false accept rate, e.g. 1e-3")
    p.add_argument("--layout", default="auto", help="of a folder: lfw, cfp_ff, cfp_fp, rfw ...")
    p.add_argument("--images", help="folder that the paths of a CSV are relative to")
    p.add_argument("--skip-missing", action="store_true", help="leave out pairs without images")
    p.add_argument("--no-flip", action="store_true", help="do not add the mirrored image")
    p.add_argument("--batch-size", type=int, default=64)
    p.add_argument("--device", default="auto", help="auto | cpu | cuda | cuda:N")
    p.add_argument("--bootstrap", type=int, default=1000, help="resamples for the interval")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--output", help="file to write; default: calibration.json beside the model")
    return p


def main() -> None:
    """Calibrate one model on one set of pairs."""
    args = parser().parse_args()

    import frfw
    from frfw.evaluation.plots import calibration_figure, save_figure

    embedder = frfw.load(args.model, device=args.device)
    found = calibrate_model(embedder, args)
    model = Path(args.model)
    output = Path(args.output or (model if model.is_dir() else model.parent) / "calibration.json")
    found.save(output)
    save_figure(calibration_figure(found), output.with_suffix(".png"))
    low, high = found.threshold_interval
    print(f"threshold   {found.threshold:.4f} (95 % interval {low:.4f} to {high:.4f})")
    print(f"FAR         {found.far_measured:.3g} (asked for {found.far:g})")
    print(f"TAR         {100 * found.tar:.2f} %")
    print(f"Cllr        {found.cllr:.4f} bits (least possible {found.cllr_min:.4f})")
    print(f"pairs       {found.genuine} same, {found.impostors} different")
    for note in found.notes:
        print(f"note        {note}")
    print(f"written to  {output}")


def calibrate_model(embedder: Embedder, args: argparse.Namespace) -> Calibration:
    """Score the pairs with the network and calibrate on them."""
    from frfw.evaluation import Extraction, embed_pairs, load_pairs, score_pairs
    from frfw.evaluation.calibration import calibrate
    from frfw.evaluation.sets import pair_identities

    source = {"path": args.pairs, "layout": args.layout, "skip_missing": args.skip_missing}
    pairs = load_pairs(source | ({"images": args.images} if args.images else {}))
    how = Extraction(
        size=embedder.preprocessing.size,
        flip=not args.no_flip,
        batch_size=args.batch_size,
        device=str(embedder.device),
        progress=True,
    )
    result = score_pairs(pairs, embed_pairs(embedder.forward, pairs, how))
    found = calibrate(
        result.scores,
        result.same,
        args.far,
        folds=result.folds,
        identities=pair_identities(pairs),
        samples=args.bootstrap,
        seed=args.seed,
    )
    found.details = {
        "model": embedder.fingerprint,
        "checkpoint": str(embedder.path),
        "preprocessing": embedder.preprocessing.to_dict(),
        "flip": how.flip,
        "pairs": args.pairs,
        "set": pairs.name,
    }
    return found


if __name__ == "__main__":
    run(main)
