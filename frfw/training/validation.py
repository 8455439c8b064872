"""Verification during training, on all ranks, with the weights that would be shipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from frfw.data import BadImage
from frfw.data.dataset import Dataset
from frfw.evaluation import (
    EmbeddingCache,
    Extraction,
    PairSet,
    VerificationResult,
    evaluate_sets,
    open_sets,
)
from frfw.evaluation.extraction import Stopped
from frfw.evaluation.protocol_result import ProtocolResult
from frfw.evaluation.statement import disagreements
from frfw.tracking.projector import choose_identities
from frfw.tracking.worst import store_worst
from frfw.training.distributed import barrier
from frfw.training.fingerprint import weights_fingerprint
from frfw.training.protocol_scores import ProtocolScores, in_one_line, mean_headline

if TYPE_CHECKING:
    from frfw.training.trainer import Trainer

_PROJECTED = (12, 8)  # identities and images of each for TensorBoard's projector


class Validator:
    """Scores the current network on the run's sets; keeps which step was the best.

    With `trainer.ema` the averaged weights are scored. A named set that is missing was skipped
    with a warning when the sets were opened.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._options = trainer.config.get("evaluation") or {}
        sets, skip = self._options.get("sets") or {}, bool(self._options.get("skip_missing"))
        self.sets: dict[str, PairSet] = open_sets(sets, self._options.get("folds"), skip)
        self.protocols = ProtocolScores(sets, skip)
        for line in disagreements(trainer.parts.preprocessing, sets):
            trainer.recorder.message(f"warning: {line}")

    @property
    def network(self) -> nn.Module:
        """The weights to ship: the averaged ones where the run keeps them."""
        parts = self._trainer.parts
        return parts.ema.module if parts.ema is not None else parts.backbone

    def evaluate(self) -> bool:
        """Score all sets and log them; the last time, keep results and figures too.

        Returns:
            False when a signal came meanwhile and the evaluation was abandoned, on all ranks.
        """
        trainer = self._trainer
        trainer.average_statistics()
        last = trainer.step == trainer.plan.steps
        try:
            results, searches = self._score()
        except Stopped:
            trainer.recorder.message(f"step {trainer.step}: evaluation abandoned, to be made good")
            return False
        if results or searches:
            self._log(results, searches)
        if last and trainer.ranks.is_main:
            self._keep(results)
            self.protocols.keep(
                searches, trainer.folder.evaluation, trainer.recorder.tracker, trainer.step
            )
            if trainer.settings["embeddings"]:
                self._project()
        barrier(trainer.ranks)  # rank 0 may draw for longer than the others wait in a collective
        return True

    def _score(self) -> tuple[dict[str, VerificationResult], dict[str, ProtocolResult]]:
        network, options = self.network, self._options
        if not self.sets and not self.protocols.sets:
            return {}, {}
        how = Extraction(
            size=self._trainer.parts.preprocessing.size,
            flip=options["flip"],
            batch_size=options["batch_size"],
            precision=options["precision"],
            device=str(self._trainer.ranks.device),
            workers=options["workers"],
        )
        cache, stop = self._cache() if self._is_last else None, self._trainer.stop.agreed
        training = network.training
        network.eval()
        try:
            pairs = evaluate_sets(
                self._embed,
                self.sets,
                how,
                folds=options["folds"],
                bootstrap=options["bootstrap"] if self._is_last else 0,
                seed=options["seed"],
                cache=cache,
                stop=stop,
            )
            return pairs, self.protocols.score(self._embed, how, cache, stop)
        finally:
            network.train(training)

    def _cache(self) -> EmbeddingCache:
        """Where `frfw.evaluate` looks for the last weights' embeddings."""
        folder = self._trainer.folder.evaluation / "cache"
        preprocessing = self._trainer.parts.preprocessing
        return EmbeddingCache(folder, weights_fingerprint(self.network), preprocessing.hash)

    @property
    def _is_last(self) -> bool:
        return self._trainer.step == self._trainer.plan.steps

    def _embed(self, images: Tensor) -> Tensor:
        parts = self._trainer.parts
        return self.network(parts.model.pixels(images, parts.preprocessing))

    def _log(
        self, results: dict[str, VerificationResult], searches: dict[str, ProtocolResult]
    ) -> None:
        trainer = self._trainer
        found = {name: figures(result) for name, result in results.items()}
        found |= {name: result.figures() for name, result in searches.items()}
        trainer.metrics |= found
        scalars = {f"val/{name}/{k}": v for name, own in found.items() for k, v in own.items()}
        trainer.recorder.tracker.scalars(trainer.step, scalars)
        words = ", ".join(f"{n} {100 * r.accuracy:.2f} %" for n, r in results.items())
        told = f"verification {words}" if results else ""
        told += ("; " if results and searches else "") + in_one_line(searches)
        trainer.recorder.message(f"step {trainer.step}: {told}")
        if results:
            metric, mean = "mean accuracy", float(np.mean([r.accuracy for r in results.values()]))
        else:  # without pairs, the searches decide which step is the best
            metric, mean = "mean headline figure", mean_headline(searches)
        best = trainer.best["value"]
        if mean is not None and (best is None or mean > best):
            trainer.best = {"metric": metric, "value": mean, "step": trainer.step}

    def _keep(self, results: dict[str, VerificationResult]) -> None:
        from frfw.result_figures import pair_figures

        trainer, size = self._trainer, self._trainer.parts.preprocessing.size
        folder, tracker = trainer.folder.evaluation, trainer.recorder.tracker
        for name, result in results.items():
            result.save(folder)
            images = self.sets[name].images
            if images is not None and result.pairs is not None:
                cosine = 1 - result.threshold / 2  # of unit vectors: |a - b|² = 2 - 2 cos
                store_worst(
                    folder,
                    name,
                    result.scores,
                    result.same,
                    result.pairs,
                    lambda i, images=images: images.read(i, size),
                    cosine,
                )
        for name, figure in pair_figures(results, folder):
            tracker.figure(trainer.step, name, figure)

    @torch.inference_mode()
    def _project(self) -> None:
        """Embed a few training identities for TensorBoard's projector."""
        parts = self._trainer.parts
        chosen = choose_identities(parts.dataset.labels, *_PROJECTED)
        read = {i: image for i in chosen if (image := _readable(parts.dataset, int(i))) is not None}
        if not read:
            return
        rows, images = list(read), np.stack(list(read.values()))
        network = self.network
        training = network.training
        network.eval()
        embeddings = self._embed(torch.from_numpy(images).permute(0, 3, 1, 2)).float()
        network.train(training)
        embeddings = nn.functional.normalize(embeddings, dim=1)
        names = [str(parts.dataset.identity_names[int(parts.dataset.labels[i])]) for i in rows]
        self._trainer.recorder.tracker.embedding(
            self._trainer.step, "identities", embeddings, names, images
        )


def _readable(dataset: Dataset, index: int) -> np.ndarray | None:
    try:
        return dataset[index]
    except BadImage:  # counted where it is trained on
        return None


def figures(result: VerificationResult) -> dict[str, Any]:
    """Return the figures of a result that a table or a curve shows, as plain numbers."""
    kept = {
        "accuracy": result.accuracy,
        "std": result.std,
        "exact_accuracy": result.exact_accuracy,
        "auc": result.auc,
        "eer": result.eer,
    }
    for target, tar in result.tar_at_far.items():
        if tar is not None:
            kept[f"tar_at_far_{target:g}"] = tar
    return {k: float(v) for k, v in kept.items()}
