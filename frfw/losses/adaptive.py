"""Losses whose margin follows the norm of the embedding: AdaFace and MagFace."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from frfw.losses.angles import angle
from frfw.losses.formula import Formula, Samples, register
from frfw.losses.margin import ArcFace


@register("adaface")
class AdaFace(Formula):
    """The norm stands for image quality: high norms emphasise hard samples, low norms easy ones.

    With ẑ = clip(h (|x| - mean) / (std + eps), -1, 1) over running statistics of the batch norms,
    T = cos(clip(θ_y - m ẑ, eps, π - eps)) - m - m ẑ; N = cos θ_j. Cosines are clipped to
    [-1 + eps, 1 - eps] and norms to [0.001, 100]; no gradient goes through the norm.

    Source: Kim et al., "AdaFace", CVPR 2022, section 3, and the authors' code.

    Args:
        s: scale.
        m: margin.
        h: concentration of ẑ.
        t_alpha: weight of the new batch in the running statistics, (0, 1].
        eps: keeps cosines and angles off their ends.

    Attributes:
        batch_mean, batch_std: buffers (1,), started at 20 and 100 as in the authors' code. A
            batch of one has no spread and leaves batch_std as it is.
    """

    needs_whole_batch = True

    def __init__(
        self,
        s: float = 64.0,
        m: float = 0.4,
        h: float = 0.333,
        t_alpha: float = 0.01,
        eps: float = 1e-3,
    ) -> None:
        super().__init__(s)
        if not 0 < t_alpha <= 1:
            raise ValueError(f"t_alpha must be in (0, 1], got {t_alpha}")
        if not 0 < eps < 0.1:
            raise ValueError(f"eps must be in (0, 0.1), got {eps}")
        self.m, self.h, self.t_alpha, self.eps = float(m), float(h), float(t_alpha), float(eps)
        self.batch_mean: Tensor
        self.batch_std: Tensor
        self.register_buffer("batch_mean", torch.full((1,), 20.0))
        self.register_buffer("batch_std", torch.full((1,), 100.0))

    @torch.no_grad()
    def observe(self, cos: Tensor, norm: Tensor) -> None:
        if not self.training:
            return
        safe = norm.to(self.batch_mean.dtype).clamp(0.001, 100)
        self.batch_mean.mul_(1 - self.t_alpha).add_(self.t_alpha * safe.mean())
        if norm.numel() > 1:
            self.batch_std.mul_(1 - self.t_alpha).add_(self.t_alpha * safe.std())

    def target(self, samples: Samples) -> Tensor:
        quality = self.m * self._quality(samples.norm.detach()).to(samples.cos.dtype)
        theta = angle(self._clip(samples.cos)) - quality
        return torch.cos(theta.clamp(self.eps, math.pi - self.eps)) - self.m - quality

    def negatives(self, cos: Tensor, threshold: Tensor) -> Tensor:
        return self._clip(cos)

    def negatives_slope(self, cos: Tensor, threshold: Tensor) -> Tensor:
        return (cos.abs() <= 1 - self.eps).to(cos.dtype)

    def _clip(self, cos: Tensor) -> Tensor:
        return cos.clamp(-1 + self.eps, 1 - self.eps)

    def _quality(self, norm: Tensor) -> Tensor:
        safe = norm.to(self.batch_mean.dtype).clamp(0.001, 100)
        z = (safe - self.batch_mean) / (self.batch_std + self.eps)
        return (z * self.h).clamp(-1, 1)


@register("magface")
class MagFace(ArcFace):
    """The margin grows with the norm a of the embedding, and a regulariser rewards large norms.

    T = cos(θ_y + m(a)), m(a) linear from l_margin at a = l_a to u_margin at a = u_a; λ_g times
    the batch's mean of g(a) is added, g(a) = 1/a + a/u_a². a is clipped to [l_a, u_a].

    Source: Meng et al., "MagFace", CVPR 2021, section 3, and the authors' code.

    Args:
        s: scale.
        l_a, u_a: bounds of the norm.
        l_margin, u_margin: margins at the bounds, radians.
        lambda_g: weight of the regulariser.
        gradient, beyond_pi, easy_margin: as in ArcFace; the authors' code uses "positive".
    """

    def __init__(
        self,
        s: float = 64.0,
        l_a: float = 10.0,
        u_a: float = 110.0,
        l_margin: float = 0.45,
        u_margin: float = 0.8,
        lambda_g: float = 35.0,
        gradient: str = "exact",
        beyond_pi: str = "linear",
        easy_margin: str = "positive",
    ) -> None:
        super().__init__(s, l_margin, gradient, beyond_pi, easy_margin)
        if not 0 < l_a < u_a:
            raise ValueError(f"MagFace needs 0 < l_a < u_a, got l_a={l_a}, u_a={u_a}")
        self.l_a, self.u_a = float(l_a), float(u_a)
        self.l_margin, self.u_margin = float(l_margin), float(u_margin)
        self.lambda_g = float(lambda_g)

    def margin(self, norm: Tensor) -> Tensor:
        """Return m(a) in radians for norms of any shape."""
        slope = (self.u_margin - self.l_margin) / (self.u_a - self.l_a)
        return self.l_margin + slope * (norm.clamp(self.l_a, self.u_a) - self.l_a)

    def target(self, samples: Samples) -> Tensor:
        return self.with_margin(samples.cos, self.margin(samples.norm))

    def regulariser(self, samples: Samples) -> Tensor:
        a = samples.norm.clamp(self.l_a, self.u_a)
        return self.lambda_g * (1 / a + a / self.u_a**2)
