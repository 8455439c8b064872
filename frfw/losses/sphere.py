"""SphereFace: the angle to the own centre is multiplied by m."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from frfw.losses.angles import angle
from frfw.losses.formula import Formula, Samples, register


@register("sphereface")
class SphereFace(Formula):
    """T = (λ cos θ_y + ψ(θ_y)) / (1 + λ), N = cos θ_j, ψ(θ) = (-1)^k cos(mθ) - 2k, k = ⌊mθ/π⌋.

    λ = max(lambda_min, base (1 + gamma i)^-power) is annealed with the iteration i (counted from
    1); without annealing λ = 0 and T = ψ.

    Source: Liu et al., "SphereFace", CVPR 2017, section 3; annealing as in the authors' code.

    Args:
        s: scale; None: the norm of the embedding, as in the paper.
        m: factor of the angle, at least 1; a real number is allowed.
        annealing: True, False, or "auto": only where m is an integer.
        lambda_base, lambda_gamma, lambda_power, lambda_min: of the annealing.

    Attributes:
        iteration: buffer, int64 scalar; moved by `observe`.
    """

    identity_negatives = True

    def __init__(
        self,
        s: float | None = 32.0,
        m: float = 4,
        annealing: bool | str = "auto",
        lambda_base: float = 1000.0,
        lambda_gamma: float = 1e-4,
        lambda_power: float = 2.0,
        lambda_min: float = 5.0,
    ) -> None:
        super().__init__(1.0 if s is None else s)
        if not m >= 1:
            raise ValueError(f"m multiplies the angle and must be at least 1, got {m}")
        if annealing not in (True, False, "auto"):
            raise ValueError(f"annealing must be true, false or 'auto', got '{annealing}'")
        self.m = float(m)
        self.integer = float(m).is_integer()
        self.annealing = self.integer if annealing == "auto" else bool(annealing)
        self.scaled_by_norm = s is None
        self.lambda_base, self.lambda_gamma = float(lambda_base), float(lambda_gamma)
        self.lambda_power, self.lambda_min = float(lambda_power), float(lambda_min)
        self.needs_whole_batch = self.annealing
        self.iteration: Tensor
        self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def observe(self, cos: Tensor, norm: Tensor) -> None:
        if self.training:
            self.iteration.add_(1)

    def target(self, samples: Samples) -> Tensor:
        cos = samples.cos
        psi = self._psi(cos)
        if not self.annealing:
            return psi
        lam = self._lambda().to(cos.dtype)
        return (lam * cos + psi) / (1 + lam)

    def scale(self, samples: Samples) -> float | Tensor:
        return samples.norm if self.scaled_by_norm else self.s

    def _psi(self, cos: Tensor) -> Tensor:
        theta = angle(cos.detach())
        k = torch.floor(self.m * theta / math.pi)
        # Chebyshev keeps the gradient exact at cos = ±1, where the angle has none.
        turned = chebyshev(cos, int(self.m)) if self.integer else torch.cos(self.m * angle(cos))
        return (1 - 2 * (k % 2)) * turned - 2 * k

    def _lambda(self) -> Tensor:
        step = self.iteration.clamp_min(1).double()
        annealed = self.lambda_base * (1 + self.lambda_gamma * step) ** -self.lambda_power
        return annealed.clamp_min(self.lambda_min)


def chebyshev(cos: Tensor, m: int) -> Tensor:
    """Return cos(mθ) as a polynomial of cos θ, for an integer m >= 0."""
    last, this = torch.ones_like(cos), cos
    for _ in range(m - 1):
        last, this = this, 2 * cos * this - last
    return this if m > 0 else last
