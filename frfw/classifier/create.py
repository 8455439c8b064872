"""The one entrance: a classifier by the name of its loss."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from frfw.classifier.classifier import Classifier, Weighting
from frfw.errors import FrfwError, nearest
from frfw.losses import Formula, create_formula

MODES = ("dense",)
PARALLEL = ("replicated",)


def create_classifier(
    loss: str | Formula,
    dim: int,
    classes: int,
    mode: str = "dense",
    *,
    parallel: str = "replicated",
    weighting: Weighting | None = None,
    group: dist.ProcessGroup | None = None,
    seed: int = 0,
    **loss_params: Any,
) -> Classifier:
    """Create a margin-softmax classifier.

    Args:
        loss: name in the registry of losses (`frfw.losses.formula_names()`), or a Formula.
        dim: width of the embeddings.
        classes: number of identities over all processes.
        mode: "dense" (readable reference).
        parallel: "replicated": every process holds all classes.
        weighting: see `frfw.losses.weighting`; None: the mean.
        group: process group; None: the default one.
        seed: of the initial centres.
        loss_params: of the loss, when it is given by name.

    Raises:
        FrfwError: a choice that does not exist, numbers out of range, more processes than classes.
    """
    _choose("mode", mode, MODES)
    _choose("parallel", parallel, PARALLEL)
    if dim < 1 or classes < 2:
        raise FrfwError(f"a classifier needs dim >= 1 and classes >= 2: got {dim} and {classes}")
    formula = _formula(loss, loss_params)
    return Classifier(formula, dim, classes, weighting=weighting, group=group, seed=seed)


def _formula(loss: str | Formula, params: dict[str, Any]) -> Formula:
    if isinstance(loss, Formula):
        if params:
            raise FrfwError(f"the loss is an object already: {sorted(params)} cannot be set here")
        return loss
    try:
        return create_formula(loss, **params)
    except ValueError as error:
        raise FrfwError(str(error)) from error


def _choose(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise FrfwError(
            f"classifier.{key}={value}: there is no such choice.{nearest(value, choices)} "
            f"Choices: {', '.join(choices)}"
        )
