"""`python -m frfw.evaluate checkpoint=runs/NAME evaluation=[lfw,cfp_fp]`. See `--help`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frfw.command import SKIP_MISSING, hydra_command
from frfw.errors import FrfwError

if TYPE_CHECKING:
    from frfw.embedder import Embedder
    from frfw.evaluation import EmbeddingCache, Extraction, PairSet, VerificationResult
    from frfw.evaluation.extraction import Embed
    from frfw.evaluation.protocol_result import ProtocolResult
    from frfw.evaluation.protocols import OpenSet


@hydra_command("evaluate", flags=SKIP_MISSING)
def main(cfg: Any) -> None:
    """Score a run or checkpoint on evaluation sets: one table, and files beside the run."""
    import logging

    import torch

    from frfw.training import distributed

    ranks = distributed.join(str(cfg.device), timeout_s=600)
    if not ranks.is_main:  # what there is to say, rank 0 says
        logging.getLogger("frfw").setLevel(logging.ERROR)
    if ranks.device.type == "cpu" and cfg.threads:
        torch.set_num_threads(int(cfg.threads))
    try:
        run(cfg, ranks)
    finally:
        distributed.leave()


def run(cfg: Any, ranks: Any) -> None:
    """Load the network, score the sets, write and print what was found (rank 0)."""
    from omegaconf import OmegaConf

    import frfw
    from frfw.evaluate_graded import chosen_sets, score_graded

    embedder = frfw.load(cfg.checkpoint, device=str(ranks.device)) if cfg.checkpoint else None
    if cfg.evaluation_root is None:
        cfg.evaluation_root = _root(embedder)
    config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    settings = config["evaluation"] or {}
    if not settings.get("sets"):
        raise FrfwError("evaluation=[] names no set: evaluation=[lfw,cfp_fp] for example")
    output = Path(config["output"] or default_output(config["checkpoint"]))
    how, cache = _extraction(settings, embedder), _cache(settings, embedder, output)
    opened, others = _open(settings, embedder)
    graded = chosen_sets(config["robustness"], opened)
    results = _score_pairs(settings, embedder, opened, how, cache)
    chosen = _chosen(embedder, settings["sets"], {*opened, *others})
    if ranks.is_main and results:
        _write(results, opened, output, config, embedder, chosen)
    searches = _score_others(others, embedder, how, cache, output, chosen, ranks.is_main)
    if graded:
        wanted, folds = config["robustness"], int(settings["folds"])
        score_graded(graded, wanted, embedder, how, cache, output, folds, ranks.is_main)
    if ranks.is_main and embedder is not None:
        _show(results, searches, output, embedder)


def _show(
    results: dict[str, VerificationResult],
    searches: dict[str, ProtocolResult],
    output: Path,
    embedder: Embedder,
) -> None:
    """Add the figures to the run's TensorBoard, and make its report anew."""
    import itertools

    from frfw.result_figures import pair_figures, protocol_figures
    from frfw.tracking import write_report
    from frfw.tracking.board import add_figures

    figures = itertools.chain(pair_figures(results, output), protocol_figures(searches))
    add_figures(embedder.path, ((f"evaluation/{name}", figure) for name, figure in figures))
    run = output.parent
    if output.name == "evaluation" and (run / "config.yaml").is_file():
        print(f"report: {write_report(run)}")


def default_output(checkpoint: str | None) -> Path:
    """Return where results go: `evaluation/` in a run folder, beside a checkpoint file."""
    if checkpoint is None:
        return Path("evaluation")
    path = Path(checkpoint)
    if path.is_dir():
        return path / "evaluation"
    if path.parent.name == "checkpoints":
        return path.parent.parent / f"evaluation_{path.stem}"
    return path.parent / f"{path.stem}_evaluation"


def _root(embedder: Embedder | None) -> str:
    config = embedder.config if embedder is not None else {}
    root = config.get("evaluation_root") or (config.get("data") or {}).get("path")
    return str(root or "data/synthetic")


def _extraction(settings: dict[str, Any], embedder: Embedder | None) -> Extraction:
    from frfw.evaluation import Extraction
    from frfw.values import whole

    return Extraction(
        size=embedder.preprocessing.size if embedder else 112,
        flip=bool(settings["flip"]),
        batch_size=whole(settings["batch_size"], "evaluation.batch_size", 1),
        precision=str(settings["precision"]),
        device=str(embedder.device) if embedder else "cpu",
        workers=whole(settings["workers"], "evaluation.workers", 0),
        progress=True,
    )


def _cache(
    settings: dict[str, Any], embedder: Embedder | None, output: Path
) -> EmbeddingCache | None:
    from frfw.evaluation import EmbeddingCache

    where = settings.get("cache")
    if not where or embedder is None:
        return None
    folder = output / "cache" if where == "auto" else Path(where)
    return EmbeddingCache(folder, embedder.fingerprint, embedder.preprocessing.hash)


def _open(
    settings: dict[str, Any], embedder: Embedder | None
) -> tuple[dict[str, PairSet], dict[str, OpenSet]]:
    """Read every list before the first image is embedded."""
    import logging

    from frfw.evaluation import open_sets
    from frfw.evaluation.protocols import open_protocols
    from frfw.evaluation.statement import disagreements
    from frfw.values import whole

    for key in ("bootstrap", "seed"):
        whole(settings[key], f"evaluation.{key}", 0)
    sets, skip = settings["sets"], bool(settings["skip_missing"])
    opened = open_sets(sets, whole(settings["folds"], "evaluation.folds", 2), skip)
    others = open_protocols(sets, skip)
    if not opened and not others:
        places = ", ".join(str(s.get("path")) for s in sets.values())
        raise FrfwError(f"none of the evaluation sets is there ({places}): set evaluation_root")
    needing = [*others, *(name for name, pairs in opened.items() if pairs.images is not None)]
    if embedder is None and needing:
        raise FrfwError(f"{needing[0]} is images: give the network as checkpoint=runs/NAME")
    if embedder is not None:
        for line in disagreements(embedder.preprocessing, sets):
            logging.getLogger("frfw.evaluation").warning(line)
    return opened, others


def _chosen(embedder: Embedder | None, sets: dict[str, Any], here: set[str]) -> list[str]:
    from frfw.selection import chosen_on

    if embedder is None:
        return []
    scored = {name: source for name, source in sets.items() if name in here}
    return chosen_on(embedder.path, embedder.config, scored)


def _score_pairs(
    settings: dict[str, Any],
    embedder: Embedder | None,
    opened: dict[str, PairSet],
    how: Extraction,
    cache: EmbeddingCache | None,
) -> dict[str, VerificationResult]:
    from frfw.evaluation import evaluate_sets

    return evaluate_sets(
        _embed(embedder),
        opened,
        how,
        folds=int(settings["folds"]),
        bootstrap=int(settings["bootstrap"]),
        seed=int(settings["seed"]),
        cache=cache,
    )


def _score_others(
    others: dict[str, OpenSet],
    embedder: Embedder | None,
    how: Extraction,
    cache: EmbeddingCache | None,
    output: Path,
    chosen: list[str],
    is_main: bool,
) -> dict[str, ProtocolResult]:
    """Score identification and template sets; write `<name>.json` and print a table of each."""
    from frfw.evaluation.plots import cmc_figure, save_figure
    from frfw.evaluation.protocol_result import protocol_table
    from frfw.evaluation.protocols import score_protocol
    from frfw.selection import warning

    found = {}
    for name, source in others.items():
        result = found[name] = score_protocol(_embed(embedder), name, source, how, cache)
        if name in chosen:
            result.notes = [*result.notes, warning(name).removeprefix(f"{name}: ")]
        if is_main:
            path = result.save(output)
            curves = {k: r.cmc for k, r in result.identification.items() if r.cmc.size}
            if curves:
                save_figure(cmc_figure(curves), output / f"{name}_cmc.png")
            print(f"{protocol_table(result)}\nwritten to {path}")
    return found


def _embed(embedder: Embedder | None) -> Embed:
    return embedder.forward if embedder else _no_network


def _no_network(images: Any) -> Any:
    raise FrfwError("these sets are images: give the network as checkpoint=runs/NAME")


def _write(
    results: dict[str, VerificationResult],
    opened: dict[str, PairSet],
    output: Path,
    config: dict[str, Any],
    embedder: Embedder | None,
    chosen: list[str],
) -> None:
    from frfw.evaluation.table import results_table
    from frfw.selection import warning
    from frfw.tracking.worst import store_worst

    for name, result in results.items():
        result.details["checkpoint"] = str(embedder.path) if embedder else None
        result.details["model"] = embedder.fingerprint if embedder else None
        result.details["chosen_on_this_set"] = name in chosen
        result.save(output)
        images = opened[name].images
        if images is not None:
            cosine = 1 - result.threshold / 2
            store_worst(output, name, result.scores, result.same, result.pairs, images.read, cosine)
    lines = [results_table(results), *(warning(name) for name in results if name in chosen)]
    table = "\n".join(lines)
    (output / "table.txt").write_text(table + "\n")
    (output / "settings.json").write_text(json.dumps(config, indent=1) + "\n")
    print(table)
    print(f"written to {output}")


if __name__ == "__main__":
    main()
