"""ElasticFace: every sample draws its margin from a normal distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from frfw.losses.draws import standard_normal
from frfw.losses.formula import Samples, register
from frfw.losses.margin import ArcFace, CosFace


class _DrawnMargin:
    """Draws m_i ~ N(m, std²) in training mode; the mean m otherwise.

    The draw of a sample is a function of (seed, step, position in the global batch). With `plus`
    the draws of the global batch are sorted, so that the farther a sample is from its centre the
    larger its margin.
    """

    m: float
    training: bool
    step: Tensor

    def _set_up(self, std: float, plus: bool, seed: int) -> None:
        if not std >= 0:
            raise ValueError(f"std must not be negative, got {std}")
        self.std, self.plus, self.seed = float(std), bool(plus), int(seed)
        self.needs_whole_batch = True
        self._sorted: Tensor | None = None
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def observe(self, cos: Tensor, norm: Tensor) -> None:
        if not self.training:
            return
        self.step.add_(1)
        if self.plus:
            index = torch.arange(cos.numel(), device=cos.device)
            margins = torch.empty_like(cos)
            margins[cos.argsort(descending=True, stable=True)] = self._draw(index, cos).sort()[0]
            self._sorted = margins

    def drawn(self, samples: Samples) -> Tensor:
        """Return the margins (B,) of these samples, without gradient."""
        if not self.training:
            return torch.full_like(samples.cos.detach(), self.m)
        if self.plus:
            if self._sorted is None:
                raise RuntimeError("ElasticFace+ needs observe(cos, norm) before target(samples)")
            return self._sorted[samples.index].to(samples.cos.dtype)
        return self._draw(samples.index, samples.cos)

    def _draw(self, index: Tensor, like: Tensor) -> Tensor:
        normal = standard_normal(self.seed, self.step, index)
        return (self.m + self.std * normal).to(like.dtype)


@register("elastic_arc")
class ElasticArcFace(_DrawnMargin, ArcFace):
    """T = cos(θ_y + m_i), m_i ~ N(m, std²); N = cos θ_j.

    Source: Boutros et al., "ElasticFace", CVPRW 2022, section 3.

    Args:
        s, gradient, beyond_pi, easy_margin: as in ArcFace.
        m, std: mean and standard deviation of the margin, radians.
        plus: ElasticFace+: samples far from their centre get the large draws; the authors use it
            with std 0.0175 (0.02 for elastic_cos).
        draw_seed: seed of the draws.

    Attributes:
        step: buffer, int64 scalar; moved by `observe`.
    """

    def __init__(
        self,
        s: float = 64.0,
        m: float = 0.5,
        std: float = 0.05,
        plus: bool = False,
        draw_seed: int = 0,
        gradient: str = "exact",
        beyond_pi: str = "none",
        easy_margin: str = "none",
    ) -> None:
        super().__init__(s, m, gradient, beyond_pi, easy_margin)
        self._set_up(std, plus, draw_seed)

    def target(self, samples: Samples) -> Tensor:
        return self.with_margin(samples.cos, self.drawn(samples))


@register("elastic_cos")
class ElasticCosFace(_DrawnMargin, CosFace):
    """T = cos θ_y - m_i, m_i ~ N(m, std²); N = cos θ_j.

    Source: Boutros et al., "ElasticFace", CVPRW 2022, section 3.

    Args:
        s: scale. m, std: mean and standard deviation of the margin.
        plus, draw_seed: as in ElasticArcFace.
    """

    def __init__(
        self,
        s: float = 64.0,
        m: float = 0.35,
        std: float = 0.05,
        plus: bool = False,
        draw_seed: int = 0,
    ) -> None:
        super().__init__(s, m)
        self._set_up(std, plus, draw_seed)

    def target(self, samples: Samples) -> Tensor:
        return samples.cos - self.drawn(samples)
