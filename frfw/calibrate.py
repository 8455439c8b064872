"""`python -m frfw.calibrate RUN --pairs PAIRS --far 1e-4`: threshold and likelihood ratios."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frfw.command import run
from frfw.evaluate import default_output

if TYPE_CHECKING:
    from frfw.embedder import Embedder
    from frfw.evaluation import PairSet
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
    p.add_argument("--bootstrap", type=int, default=1000, help="resamples; 0: no interval")
    p.add_argument("--seed", type=int, default=0, help="of the resampling")
    p.add_argument("--output", help="file to write; default: calibration.json beside the model")
    sets = p.add_argument_group("the pairs")
    sets.add_argument("--layout", default="auto", help="of a folder: lfw, cfp_ff, cfp_fp, rfw ...")
    sets.add_argument("--protocol", help="pair list of a folder, where not in its usual place")
    sets.add_argument("--images", help="folder that the paths of a CSV are relative to")
    sets.add_argument("--keep", action="append", help="only these identities; may be repeated")
    sets.add_argument("--exclude", action="append", help="none of these identities; likewise")
    sets.add_argument("--folds", type=int, help="consecutive ones; default: the set's own, else 10")
    sets.add_argument("--skip-missing", action="store_true", help="leave out pairs without images")
    sets.add_argument(
        "--allow-duplicates", action="store_true", help="count a pair each time that it comes"
    )
    how = p.add_argument_group("embeddings")
    how.add_argument("--no-flip", action="store_true", help="do not add the mirrored image")
    how.add_argument("--precision", default="fp32", help="fp32 | bf16 | fp16")
    how.add_argument("--batch-size", type=int, default=64)
    how.add_argument("--workers", type=int, default=2, help="threads that decode images")
    how.add_argument("--cache", default="auto", help="auto: frfw.evaluate's | none | a folder")
    how.add_argument("--device", default="auto", help="auto | cpu | cuda | cuda:N")
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
    interval = found.threshold_interval
    told = "no interval" if interval is None else "95 % interval {:.4f} to {:.4f}".format(*interval)
    print(f"threshold   {found.threshold:.4f} ({told})")
    print(f"FAR         {found.far_measured:.3g} (asked for {found.far:g})")
    print(f"TAR         {100 * found.tar:.2f} %")
    print(f"Cllr        {found.cllr:.4f} bits (least possible {found.cllr_min:.4f})")
    print(f"pairs       {found.genuine} same, {found.impostors} different")
    for note in found.notes:
        print(f"note        {note}")
    print(f"written to  {output}")


def calibrate_model(embedder: Embedder, args: argparse.Namespace) -> Calibration:
    """Score the pairs with the network and calibrate on them.

    Raises:
        FrfwError: pairs that cannot be scored, or a FAR that their impostors are too few for;
            both before an image is embedded.
    """
    from frfw.evaluation import EmbeddingCache, Extraction, embed_pairs, load_pairs, score_pairs
    from frfw.evaluation.calibration import calibrate, check_far
    from frfw.evaluation.pairs import check_folds
    from frfw.evaluation.sets import own_folds, pair_identities
    from frfw.values import whole

    pairs = load_pairs(_source(args))
    check_folds(pairs, own_folds(pairs, 10), args.pairs)
    check_far(args.far, int((~pairs.same).sum()))
    whole(args.bootstrap, "--bootstrap ", 0)
    how = Extraction(
        size=embedder.preprocessing.size,
        flip=not args.no_flip,
        batch_size=args.batch_size,
        precision=args.precision,
        device=str(embedder.device),
        workers=args.workers,
        progress=True,
    )
    cache = None
    if args.cache != "none":
        folder = default_output(args.model) / "cache" if args.cache == "auto" else Path(args.cache)
        cache = EmbeddingCache(folder, embedder.fingerprint, embedder.preprocessing.hash)
    embeddings = embed_pairs(embedder.forward, pairs, how, cache)
    result = score_pairs(pairs, embeddings)
    found = calibrate(
        result.scores,
        result.same,
        args.far,
        folds=result.folds,
        identities=pair_identities(pairs),
        samples=args.bootstrap,
        seed=args.seed,
    )
    found.notes += _notes(embedder, pairs, args)
    found.details = {
        "model": embedder.fingerprint,
        "checkpoint": str(embedder.path),
        "preprocessing": embedder.preprocessing.to_dict(),
        "flip": how.flip,
        "precision": how.precision,
        "pairs": args.pairs,
        "set": pairs.name,
        **pairs.details,
    }
    return found


def _source(args: argparse.Namespace) -> dict[str, Any]:
    source = {
        "path": args.pairs,
        "layout": args.layout,
        "pairs": args.protocol,
        "images": args.images,
        "keep": args.keep,
        "exclude": args.exclude,
        "skip_missing": args.skip_missing,
        "allow_duplicates": args.allow_duplicates,
        "folds": args.folds,
    }
    return {key: value for key, value in source.items() if value is not None}


def _notes(embedder: Embedder, pairs: PairSet, args: argparse.Namespace) -> list[str]:
    """Say what flatters or weakens the figures: how the network was chosen, odd crops, repeats."""
    from frfw.evaluation.statement import disagreements
    from frfw.selection import chosen_on, warning

    sets = {pairs.name: _source(args)}
    notes = [warning(name) for name in chosen_on(embedder.path, embedder.config, sets)]
    notes += disagreements(embedder.preprocessing, sets)
    for key in ("skipped_pairs", "repeated_pairs", "disputed_pairs"):
        if pairs.details.get(key):
            notes.append(f"{pairs.details[key]} {key.replace('_', ' ')}")
    return notes


if __name__ == "__main__":
    run(main)
