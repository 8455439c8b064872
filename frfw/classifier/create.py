"""The one entrance: a classifier by the name of its loss."""

from __future__ import annotations

import inspect
from typing import Any

import torch.distributed as dist

from frfw.classifier.classifier import Classifier, Weighting
from frfw.classifier.settings import Settings, choose
from frfw.classifier.tiles import parse_budget
from frfw.errors import FrfwError, nearest
from frfw.losses import Formula, create_formula
from frfw.values import flag, rate, whole

# In centres; see docs/classifier.md.
_DENSE_BELOW = 2048
_COMPILED_FROM = 10_000


def create_classifier(
    loss: str | Formula,
    dim: int,
    classes: int,
    mode: str = "dense",
    *,
    parallel: str = "replicated",
    weighting: Weighting | None = None,
    group: dist.ProcessGroup | None = None,
    precision: str = "fp32",
    seed: int = 0,
    sample_rate: float = 1.0,
    sampling: str = "corrected",
    memory_budget: int | str | None = None,
    fused_update: bool = False,
    compile: bool | str = "auto",
    **loss_params: Any,
) -> Classifier:
    """Create a margin-softmax classifier.

    Args:
        loss: name in the registry of losses (`frfw.losses.formula_names()`), or a Formula.
        dim: width of the embeddings.
        classes: number of identities over all processes.
        mode: "dense" (the readable reference), "tiled" (the logits never exist), or "auto": dense
            below 2,048 centres where nothing asks for tiles, tiled otherwise.
        parallel: "replicated": every process holds all classes and computes its own samples;
            "sharded": each holds a range of classes and computes every process's samples;
            "sampled": sharded, with `sample_rate` of the classes a step (Partial FC).
        weighting: see `frfw.losses.weighting`; None: the mean.
        group: process group; None: the default one.
        precision: of the matrix products: fp32, tf32, bf16 or fp16. Everything after them is in
            float32; weights that are float64 are computed in float64.
        seed: of the initial centres and of the sampled classes.
        sample_rate: share of the classes outside the batch that take part in a step, (0, 1].
        sampling: "corrected": sampled negatives stand for 1 / sample_rate classes, so that the
            loss estimates the full one; "partial_fc": they do not, as in that paper.
        memory_budget: for tiles and kept values: bytes or "500MB"; None: 1 GiB; 0: least memory.
        fused_update: apply SGD to the weight inside backward (`Classifier.attach`).
        compile: compile the elementwise work of a tile with torch.compile (half a minute at the
            first step, and a C++ compiler on the CPU): true, false, or "auto": tiled heads from
            10,000 centres on.
        loss_params: of the loss, when it is given by name.

    Raises:
        FrfwError: a choice that does not exist or does not combine, numbers out of range, more
            processes than classes.
    """
    for key, value in {"mode": mode, "parallel": parallel, "precision": precision}.items():
        choose(key, value)
    choose("sampling", sampling)
    dim, classes, seed = whole(dim, "dim", 1), whole(classes, "classes", 1), whole(seed, "seed", 0)
    fused_update = flag(fused_update, "classifier.fused_update")
    budget = _budget(memory_budget)
    sample_rate = rate(sample_rate, "classifier.sample_rate")
    if sample_rate < 1 and parallel != "sampled":
        raise FrfwError(f"classifier.sample_rate={sample_rate} needs classifier.parallel=sampled")
    formula = _formula(loss, loss_params)
    if sample_rate < 1 and formula.geometry == "linear":
        raise FrfwError("a linear head cannot be sampled: use a cosine loss or sample_rate=1")
    centres = classes * formula.sub_centers
    plain = parallel == "replicated" and precision == "fp32" and not fused_update
    plain = plain and budget is None and compile is not True
    if mode == "auto":
        mode = "dense" if plain and centres < _DENSE_BELOW else "tiled"
    if mode == "dense" and not plain:
        raise FrfwError(
            "classifier.mode=dense is the replicated float32 reference: sharded, sampled, other "
            "precisions, the fused update, memory_budget and compile=true need "
            "classifier.mode=tiled (or auto)"
        )
    if compile != "auto" and not isinstance(compile, bool):
        raise FrfwError(f"classifier.compile={compile}: choose true, false or auto")
    if compile == "auto":
        compile = centres >= _COMPILED_FROM
    spread = dist.is_available() and dist.is_initialized() and dist.get_world_size(group) > 1
    if fused_update and parallel == "replicated" and spread:
        raise FrfwError(
            "classifier.fused_update with several processes needs classifier.parallel=sharded or "
            "sampled: replicated gradients are averaged before the update"
        )
    return Classifier(
        formula,
        dim,
        classes,
        weighting=weighting,
        group=group,
        seed=seed,
        sharded=parallel != "replicated",
        settings=Settings(
            mode,
            precision,
            sample_rate,
            sampling,
            budget,
            fused_update,
            bool(compile) and mode == "tiled",
        ),
    )


def _budget(value: int | str | None) -> int | None:
    try:
        return parse_budget(value)
    except FrfwError as error:
        raise FrfwError(f"classifier.memory_budget: {error}") from error


def _formula(loss: str | Formula, params: dict[str, Any]) -> Formula:
    if isinstance(loss, Formula):
        if params:
            raise FrfwError(f"the loss is an object already: {sorted(params)} cannot be set here")
        return loss
    try:
        return create_formula(loss, **params)
    except ValueError as error:
        raise FrfwError(f"{error}{_near_option(params)}") from error


def _near_option(params: dict[str, Any]) -> str:
    """What was meant, where a key that went to the loss looks like one of the classifier's."""
    known = inspect.signature(create_classifier).parameters.values()
    own = [parameter.name for parameter in known if parameter.kind is parameter.KEYWORD_ONLY]
    return next((f".{told}" for key in params if (told := nearest(key, own))), "")
