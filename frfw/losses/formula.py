"""What a softmax-family loss is here: two formulas, T and N, and the state they use.

    L = -log( e^{sT} / (e^{sT} + sum_{j != y} e^{s N_j}) ),   T = T(cos θ_y),  N_j = N(cos θ_j)

A formula sees cosines only. Weights, normalisation, tiles, shards and the log-sum-exp belong to
the classifier, which asks the formula for T, for the threshold above which a negative is hard,
and for N; every loss is therefore written once for all the ways a classifier can run.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from torch import Tensor, nn

from frfw.losses.widen import keep_wide


@dataclass
class Samples:
    """What a formula may know of a batch of B samples.

    Attributes:
        cos: (B,) cosine to the sample's own centre (with geometry "linear": its own logit),
            differentiable.
        norm: (B,) L2 norm of the embedding before normalisation, differentiable.
        label: (B,) int64 class indices.
        index: (B,) int64 position in the global batch; random draws depend on (seed, step, index).
        survey: (B,) totals over all negatives of whatever `Formula.survey` returned.
    """

    cos: Tensor
    norm: Tensor
    label: Tensor
    index: Tensor
    survey: dict[str, Tensor] = field(default_factory=dict)


class Formula(nn.Module):
    """Base of every softmax-family loss; the defaults are those of plain (Norm)softmax.

    State lives in buffers (float32; float64 after `.double()`), is moved in place and only in
    training mode, by `observe`, which is given the whole global batch before `target` is called.

    Args:
        s: the scale of the logits.

    Attributes:
        geometry: "cosine", or "linear" for z = W x + b without any normalisation.
        sub_centers: K centres a class; the cosine to a class is the largest of its K.
        uses_survey: the margin needs sums over the negatives, so the classifier makes one more
            pass without gradient and hands the totals over in `Samples.survey`.
        needs_whole_batch: a state or draw that must see the whole global batch in one forward.
        identity_negatives: N_j is cos θ_j, so that the classifier may skip `negatives`.
    """

    geometry: Literal["cosine", "linear"] = "cosine"
    sub_centers: int = 1
    uses_survey: bool = False
    needs_whole_batch: bool = False
    identity_negatives: bool = False

    def __init__(self, s: float = 64.0) -> None:
        super().__init__()
        if not s > 0:
            raise ValueError(f"the scale s must be positive, got {s}")
        self.s = float(s)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Formula:
        return super()._apply(keep_wide(fn), recurse)

    def observe(self, cos: Tensor, norm: Tensor) -> None:
        """Move the state with the global batch: `cos`, `norm` (B_global,), without gradient."""

    def observe_probability(self, p: Tensor) -> None:
        """Take in p (B_global,), each target's softmax probability, after the forward pass."""

    def survey(
        self, cos: Tensor, is_target: Tensor | None, threshold: Tensor, samples: Samples
    ) -> dict[str, Tensor]:
        """Return (b,) sums over the negatives of one tile; the classifier adds the tiles up.

        Args:
            cos: (b, c) cosines of b samples to the c classes of the tile.
            is_target: (b, c) bool, true on each sample's own class; None: no target in the tile.
            threshold: (b, 1) of `threshold`.
            samples: the b samples.
        """
        return {}

    def target(self, samples: Samples) -> Tensor:
        """Return T (B,), unscaled, differentiable in `samples.cos` (and `samples.norm`)."""
        return samples.cos

    def threshold(self, samples: Samples) -> Tensor:
        """Return the (B,) cosine, without gradient, above which a negative counts as hard."""
        return self.target(samples).detach()

    def negatives(self, cos: Tensor, threshold: Tensor) -> Tensor:
        """Return N (b, c) for cosines (b, c), differentiable; `threshold` (b, 1) is constant."""
        return cos

    def negatives_slope(self, cos: Tensor, threshold: Tensor) -> Tensor | None:
        """Return dN/dcos (b, c) in closed form, or None to have autograd work it out."""
        return None

    def scale(self, samples: Samples) -> float | Tensor:
        """Return the factor of T and N: a number, or (B,) differentiable."""
        return self.s

    def regulariser(self, samples: Samples) -> Tensor | None:
        """Return (B,) to add to the loss as its mean, not subject to sample weighting, or None."""
        return None


FormulaClass = TypeVar("FormulaClass", bound=type[Formula])
_FORMULAS: dict[str, type[Formula]] = {}


def register(name: str) -> Callable[[FormulaClass], FormulaClass]:
    """Class decorator: make a Formula selectable as `loss=<name>`."""

    def decorate(cls: FormulaClass) -> FormulaClass:
        _FORMULAS[name] = cls
        return cls

    return decorate


def formula_names() -> list[str]:
    """Return the names that `create_formula` knows, sorted."""
    return sorted(_FORMULAS)


def create_formula(name: str, **params: Any) -> Formula:
    """Return the formula called `name`, for example `create_formula("arcface", s=64, m=0.5)`.

    Raises:
        ValueError: unknown name or parameter (with the nearest right one), or a bad value.
    """
    return build(_FORMULAS, "loss", name, params)


def build(classes: dict[str, type], kind: str, name: str, params: dict[str, Any]) -> Any:
    """Construct `classes[name](**params)`; anything unknown gets a ValueError with a hint."""
    if name not in classes:
        raise ValueError(f"unknown {kind} '{name}'.{hint(name, classes)} Known: {_listed(classes)}")
    accepted = [p for p in inspect.signature(classes[name]).parameters if p != "self"]
    for key in params:
        if key not in accepted:
            raise ValueError(
                f"{kind} '{name}' has no parameter '{key}'.{hint(key, accepted)} "
                f"It takes: {', '.join(accepted) or 'none'}"
            )
    return classes[name](**params)


def choice(kind: str, value: str, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of `allowed`; otherwise raise ValueError naming the nearest."""
    allowed = list(allowed)
    if value not in allowed:
        raise ValueError(f"{kind} is '{value}'.{hint(value, allowed)} One of: {', '.join(allowed)}")
    return value


def hint(name: Any, choices: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest of `choices`, or an empty string."""
    close = difflib.get_close_matches(str(name), list(choices), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
