"""Losses that raise the hard negatives: SV-Softmax, MV-Softmax, NPCFace, class-level Circle."""

from __future__ import annotations

import torch
from torch import Tensor

from frfw.losses.angles import add_angle
from frfw.losses.formula import Formula, Samples, choice, register
from frfw.losses.margin import ArcFace, CosFace

HARD = ("adaptive", "fixed")


class _RaisedNegatives(Formula):
    """N = t cos θ_j + t - 1 (adaptive) or cos θ_j + t - 1 (fixed) for the hard negatives."""

    identity_negatives = False

    def _raise_by(self, t: float, hard: str) -> None:
        if not t >= 1:
            raise ValueError(
                f"t is the factor of hard negatives, at least 1 (1.2, not 0.2), got {t}"
            )
        self.t = float(t)
        self.hard = choice("hard", hard, HARD)

    def negatives(self, cos: Tensor, threshold: Tensor) -> Tensor:
        factor = self.t if self.hard == "adaptive" else 1.0
        return torch.where(cos > threshold, factor * cos + (self.t - 1), cos)

    def negatives_slope(self, cos: Tensor, threshold: Tensor) -> Tensor:
        slope = torch.ones_like(cos)
        return slope.masked_fill(cos > threshold, self.t) if self.hard == "adaptive" else slope


@register("sv_softmax")
class SVSoftmax(_RaisedNegatives):
    """Support-vector guided softmax. T = cos θ_y; a negative is hard where cos θ_j > cos θ_y.

    Source: Wang et al., "Support Vector Guided Softmax Loss for Face Recognition", 2018.

    Args:
        s: scale.
        t: factor of the hard negatives, above 1.
        hard: "adaptive" (t cos + t - 1, the paper's) or "fixed" (cos + t - 1).
    """

    def __init__(self, s: float = 32.0, t: float = 1.2, hard: str = "adaptive") -> None:
        super().__init__(s)
        self._raise_by(t, hard)


@register("mv_am")
class MVAM(_RaisedNegatives, CosFace):
    """MV-Softmax over the additive cosine margin. T = cos θ_y - m, hard above cos θ_y - m.

    Source: Wang et al., "Mis-classified Vector Guided Softmax Loss", AAAI 2020, section 3.

    Args:
        s, m, easy_margin: as in CosFace. t, hard: as in SVSoftmax.
    """

    def __init__(
        self,
        s: float = 32.0,
        m: float = 0.35,
        t: float = 1.2,
        hard: str = "adaptive",
        easy_margin: str = "none",
    ) -> None:
        super().__init__(s, m, easy_margin)
        self._raise_by(t, hard)

    def threshold(self, samples: Samples) -> Tensor:
        return samples.cos.detach() - self.m


@register("mv_arc")
class MVArc(_RaisedNegatives, ArcFace):
    """MV-Softmax over the additive angular margin. T = cos(θ_y + m), hard above cos(θ_y + m),
    with the rule for θ_y + m > π.

    Source: Wang et al., "Mis-classified Vector Guided Softmax Loss", AAAI 2020, section 3.

    Args:
        s, m, gradient, beyond_pi, easy_margin: as in ArcFace. t, hard: as in SVSoftmax.
    """

    def __init__(
        self,
        s: float = 32.0,
        m: float = 0.35,
        t: float = 1.2,
        hard: str = "adaptive",
        gradient: str = "exact",
        beyond_pi: str = "none",
        easy_margin: str = "none",
    ) -> None:
        super().__init__(s, m, gradient, beyond_pi, easy_margin)
        self._raise_by(t, hard)

    def threshold(self, samples: Samples) -> Tensor:
        # With the rule: without it a negative could become hard as the own cosine rises from -1.
        return add_angle(samples.cos.detach(), self.m, self.beyond_pi)


@register("npcface")
class NPCFace(ArcFace):
    """The margin of a sample grows with the mean cosine of its hard negatives.

    T = cos(θ_y + m_i), m_i = m0 + m1 mean of cos θ_j over the hard negatives (m0 where there are
    none; no gradient through m_i); N = t cos θ_j + a where cos θ_j > cos(θ_y + hard_margin).

    Source: Zeng et al., "NPCFace: Negative-Positive Collaborative Training", 2020, section 3;
    the numbers and the easy margin are those of the authors' code.

    Args:
        s: scale.
        m0, m1: base of the margin and its growth, radians.
        t, a: factor of and addition to the hard negatives.
        hard_margin: the margin that decides which negatives are hard.
        gradient, beyond_pi, easy_margin: as in ArcFace.
    """

    identity_negatives = False
    uses_survey = True

    def __init__(
        self,
        s: float = 64.0,
        m0: float = 0.4,
        m1: float = 0.2,
        t: float = 1.1,
        a: float = 0.2,
        hard_margin: float = 0.5,
        gradient: str = "exact",
        beyond_pi: str = "none",
        easy_margin: str = "positive",
    ) -> None:
        super().__init__(s, m0, gradient, beyond_pi, easy_margin)
        self.m0, self.m1 = float(m0), float(m1)
        self.t, self.a = float(t), float(a)
        self.hard_margin = float(hard_margin)

    def survey(
        self, cos: Tensor, is_target: Tensor | None, threshold: Tensor, samples: Samples
    ) -> dict[str, Tensor]:
        hard = cos > threshold
        if is_target is not None:
            hard = hard & ~is_target
        return {
            "hard_cos": torch.where(hard, cos, 0).sum(1),
            "hard_count": hard.sum(1).to(cos.dtype),
        }

    def target(self, samples: Samples) -> Tensor:
        totals = samples.survey
        m = torch.full_like(samples.cos.detach(), self.m0)
        if totals:
            m = m + self.m1 * totals["hard_cos"] / totals["hard_count"].clamp_min(1)
        return self.with_margin(samples.cos, m)

    def threshold(self, samples: Samples) -> Tensor:
        return add_angle(samples.cos.detach(), self.hard_margin)

    def negatives(self, cos: Tensor, threshold: Tensor) -> Tensor:
        return torch.where(cos > threshold, self.t * cos + self.a, cos)

    def negatives_slope(self, cos: Tensor, threshold: Tensor) -> Tensor:
        return torch.ones_like(cos).masked_fill(cos > threshold, self.t)


@register("circle")
class Circle(Formula):
    """Class-level Circle loss. T = α_p (cos θ_y - (1 - m)), N = α_n (cos θ_j - m).

    α_p = [1 + m - cos θ_y]_+ and α_n = [cos θ_j + m]_+ weigh each cosine by how far it is from
    its optimum; they carry no gradient.

    Source: Sun et al., "Circle Loss", CVPR 2020, section 3, with class-level labels.

    Args:
        s: the paper's γ.
        m: relaxation of the two optima.
    """

    def __init__(self, s: float = 256.0, m: float = 0.25) -> None:
        super().__init__(s)
        self.m = float(m)

    def target(self, samples: Samples) -> Tensor:
        weight = (1 + self.m - samples.cos.detach()).clamp_min(0)
        return weight * (samples.cos - (1 - self.m))

    def threshold(self, samples: Samples) -> Tensor:
        return samples.cos.detach()

    def negatives(self, cos: Tensor, threshold: Tensor) -> Tensor:
        return self.negatives_slope(cos.detach(), threshold) * (cos - self.m)

    def negatives_slope(self, cos: Tensor, threshold: Tensor) -> Tensor:
        return (cos + self.m).clamp_min(0)
