"""CurricularFace: hard negatives count for little early in training and for more later."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from frfw.losses.angles import add_angle
from frfw.losses.formula import Samples, choice, register
from frfw.losses.margin import ArcFace

STATISTICS = ("mean", "median", "mode", "p")
MODE_BINS = 100  # over [-1, 1]


@register("curricular")
class CurricularFace(ArcFace):
    """T = cos(θ_y + m); N = cos θ_j (t + cos θ_j) where cos θ_j > cos(θ_y + m), else cos θ_j.

    t is the running mean of the batch mean of cos θ_y, starts at 0 and is moved with the batch
    before it is used. Hard is judged by cos(θ_y + m) without the rule for θ_y + m > π.

    Source: Huang et al., "CurricularFace", CVPR 2020, section 3, and the authors' code.

    Args:
        s: scale.
        m: margin in radians.
        t: "adaptive", or a number at which t stays.
        statistic: what of the batch moves t: "mean", "median" or "mode" (fullest of 100 bins) of
            cos θ_y, or "p", the mean softmax probability of the target (of the step before).
        rate: weight of the new batch in the running mean, (0, 1].
        clamp_t: keep t in [0, 1].
        gradient, beyond_pi, easy_margin: as in ArcFace.

    Attributes:
        t: buffer (1,).
    """

    identity_negatives = False

    def __init__(
        self,
        s: float = 64.0,
        m: float = 0.5,
        t: str | float = "adaptive",
        statistic: str = "mean",
        rate: float = 0.01,
        clamp_t: bool = False,
        gradient: str = "exact",
        beyond_pi: str = "linear",
        easy_margin: str = "none",
    ) -> None:
        super().__init__(s, m, gradient, beyond_pi, easy_margin)
        self.adaptive = t == "adaptive"
        if not self.adaptive and isinstance(t, str):
            raise ValueError(f"t must be 'adaptive' or a number, got '{t}'")
        if not 0 < rate <= 1:
            raise ValueError(f"rate must be in (0, 1], got {rate}")
        self.statistic = choice("statistic", statistic, STATISTICS)
        self.rate = float(rate)
        self.clamp_t = bool(clamp_t)
        self.needs_whole_batch = self.adaptive
        self.t: Tensor
        self.register_buffer("t", torch.full((1,), 0.0 if self.adaptive else float(t)))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        if not self.adaptive:  # a fixed t is a setting: another run's state does not change it
            state_dict[f"{prefix}t"] = self.t
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    @torch.no_grad()
    def observe(self, cos: Tensor, norm: Tensor) -> None:
        if self.statistic != "p":
            self._move(_STATISTIC[self.statistic](cos.to(self.t.dtype)))

    @torch.no_grad()
    def observe_probability(self, p: Tensor) -> None:
        if self.statistic == "p":
            self._move(p.to(self.t.dtype).mean())

    def _move(self, value: Tensor) -> None:
        if not self.adaptive or not self.training:
            return
        self.t.mul_(1 - self.rate).add_(value, alpha=self.rate)
        if self.clamp_t:
            self.t.clamp_(0, 1)

    def threshold(self, samples: Samples) -> Tensor:
        return add_angle(samples.cos.detach(), self.m)

    def negatives(self, cos: Tensor, threshold: Tensor) -> Tensor:
        return torch.where(cos > threshold, cos * (self.t + cos), cos)

    def negatives_slope(self, cos: Tensor, threshold: Tensor) -> Tensor:
        return torch.where(cos > threshold, self.t + 2 * cos, 1)


def _mode(cos: Tensor) -> Tensor:
    """Return the middle of the fullest of MODE_BINS bins over [-1, 1] (the lowest when tied)."""
    bins = ((cos + 1) * (MODE_BINS / 2)).long().clamp(0, MODE_BINS - 1)
    counts = torch.zeros(MODE_BINS, dtype=cos.dtype, device=cos.device)
    counts.scatter_add_(0, bins, torch.ones_like(cos))
    return (counts.argmax() + 0.5) * (2 / MODE_BINS) - 1


_STATISTIC = {"mean": torch.mean, "median": torch.median, "mode": _mode}
