"""Losses whose margin is a constant: softmax, CosFace, ArcFace, combined, sub-centre ArcFace."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from frfw.losses.angles import add_angle, angle, straight_through
from frfw.losses.formula import Formula, Samples, choice, register

BEYOND_PI = ("linear", "none", "saturate", "cosine")
EASY_MARGIN = ("none", "positive", "margin")
GRADIENT = ("exact", "straight_through")


@register("softmax")
class Softmax(Formula):
    """NormFace: softmax over scaled cosines, no margin. T = cos θ_y, N = cos θ_j.

    Source: Wang et al., "NormFace: L2 Hypersphere Embedding for Face Verification", 2017.
    """

    identity_negatives = True


@register("linear_softmax")
class LinearSoftmax(Formula):
    """Plain softmax with bias on un-normalised embeddings: z = W x + b; T = z_y, N = z_j."""

    geometry = "linear"
    identity_negatives = True

    def __init__(self) -> None:
        super().__init__(s=1.0)


@register("cosface")
class CosFace(Formula):
    """Additive cosine margin. T = cos θ_y - m, N = cos θ_j.

    Source: Wang et al., "CosFace", CVPR 2018, eq. 4; also AM-Softmax, Wang et al. 2018.

    Args:
        s: scale.
        m: margin in cosine.
        easy_margin: "none"; "positive": no margin where cos θ_y <= 0; "margin": none where
            cos θ_y <= m.
    """

    identity_negatives = True

    def __init__(self, s: float = 64.0, m: float = 0.35, easy_margin: str = "none") -> None:
        super().__init__(s)
        self.m = float(m)
        self.easy_margin = choice("easy_margin", easy_margin, EASY_MARGIN)

    def target(self, samples: Samples) -> Tensor:
        return ease(samples.cos - self.m, samples.cos, self.easy_margin, self.m)


@register("arcface")
class ArcFace(Formula):
    """Additive angular margin. T = cos(θ_y + m), N = cos θ_j.

    Source: Deng et al., "ArcFace", CVPR 2019, eq. 3.

    Args:
        s: scale.
        m: margin in radians.
        gradient: "exact" differentiates the margin; "straight_through" gives T's value the
            gradient of cos θ_y, as code that applies the margin under no_grad does.
        beyond_pi: T where θ_y + m > π. "linear": cos θ_y - m sin m; "none": cos(θ_y + m), which
            rises again; "saturate": -1, without gradient; "cosine": cos θ_y, no margin at all.
        easy_margin: "none"; "positive": no margin where cos θ_y <= 0; "margin": none where
            cos θ_y <= m.
    """

    identity_negatives = True

    def __init__(
        self,
        s: float = 64.0,
        m: float = 0.5,
        gradient: str = "exact",
        beyond_pi: str = "linear",
        easy_margin: str = "none",
    ) -> None:
        super().__init__(s)
        if not 0 <= m <= math.pi:
            raise ValueError(f"the angular margin m must be in [0, pi] radians, got {m}")
        self.m = float(m)
        self.gradient = choice("gradient", gradient, GRADIENT)
        self.beyond_pi = choice("beyond_pi", beyond_pi, BEYOND_PI)
        self.easy_margin = choice("easy_margin", easy_margin, EASY_MARGIN)

    def target(self, samples: Samples) -> Tensor:
        return self.with_margin(samples.cos, self.m)

    def with_margin(self, cos: Tensor, m: float | Tensor) -> Tensor:
        """Return T for the margin m (a number or (B,)), with this loss's rules."""
        value = ease(add_angle(cos, m, self.beyond_pi), cos, self.easy_margin, m)
        return straight_through(value, cos) if self.gradient == "straight_through" else value


@register("combined")
class CombinedMargin(ArcFace):
    """The three margins together, always. T = cos(m1 θ_y + m2) - m3, N = cos θ_j.

    Where m1 θ_y + m2 > π, "linear" is cos θ_y - max(δ sin δ, 1 - cos δ) - m3 with δ = π - (π -
    m2) / m1, which is ArcFace's rule where m1 = 1 and never rises; "saturate" is -1 - m3;
    "cosine" is cos θ_y - m3; "none" is the plain formula.

    Source: Deng et al., "ArcFace", CVPR 2019, eq. 4.

    Args:
        s: scale.
        m1: factor of the angle. m2: added to the angle, radians. m3: subtracted from the cosine.
        gradient, beyond_pi, easy_margin: as in ArcFace ("margin" compares with m2 + m3).
    """

    def __init__(
        self,
        s: float = 64.0,
        m1: float = 1.0,
        m2: float = 0.3,
        m3: float = 0.2,
        gradient: str = "exact",
        beyond_pi: str = "linear",
        easy_margin: str = "none",
    ) -> None:
        super().__init__(s, m2, gradient, beyond_pi, easy_margin)
        if not m1 > 0:
            raise ValueError(f"m1 multiplies the angle and must be positive, got {m1}")
        self.m1, self.m2, self.m3 = float(m1), float(m2), float(m3)

    def target(self, samples: Samples) -> Tensor:
        cos = samples.cos
        plain = add_angle(cos, self.m2) if self.m1 == 1 else torch.cos(self._turned(cos))
        value = self._beyond(plain, cos) - self.m3
        value = ease(value, cos, self.easy_margin, self.m2 + self.m3)
        return straight_through(value, cos) if self.gradient == "straight_through" else value

    def _turned(self, cos: Tensor) -> Tensor:
        return self.m1 * angle(cos) + self.m2

    def _beyond(self, plain: Tensor, cos: Tensor) -> Tensor:
        delta = math.pi - (math.pi - self.m2) / self.m1
        if self.beyond_pi == "none" or delta <= 0:
            return plain
        drop = max(delta * math.sin(delta), 1 - math.cos(delta))
        past = {"linear": cos - drop, "cosine": cos, "saturate": torch.full_like(cos, -1)}
        return torch.where(cos > -math.cos(delta), plain, past[self.beyond_pi])


@register("subcenter_arcface")
class SubcenterArcFace(ArcFace):
    """ArcFace with K centres a class: cos θ_j is the largest cosine to class j's K sub-centres.

    Source: Deng et al., "Sub-center ArcFace", ECCV 2020, section 3.

    Args:
        sub_centers: K, 3 in the paper. `frfw.losses.subcenter_report` finds the noisy samples.
        s, m, gradient, beyond_pi, easy_margin: as in ArcFace.
    """

    def __init__(
        self,
        s: float = 64.0,
        m: float = 0.5,
        sub_centers: int = 3,
        gradient: str = "exact",
        beyond_pi: str = "linear",
        easy_margin: str = "none",
    ) -> None:
        super().__init__(s, m, gradient, beyond_pi, easy_margin)
        if sub_centers < 1:
            raise ValueError(f"sub_centers must be at least 1, got {sub_centers}")
        self.sub_centers = int(sub_centers)


def ease(value: Tensor, cos: Tensor, easy_margin: str, m: float | Tensor) -> Tensor:
    """Return `value` only where the easy-margin rule allows a margin, `cos` elsewhere."""
    if easy_margin == "none":
        return value
    return torch.where(cos > (0 if easy_margin == "positive" else m), value, cos)
