"""Guards against non-finite steps: found on the device, skipped on all ranks, counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_SMALL = 1 << 16  # numbers of a buffer that goes together with others


class StepGuard:
    """Counts skipped steps on the device and undoes their effect on buffers, without host sync.

    The optimizer skips through `found_inf` (fused kernels); buffers that the forward moved (the
    loss's t, batch-norm statistics) are put back where the step was not finite.

    Args:
        modules: whose buffers a bad step must not move.
        device: where the counters live.
    """

    def __init__(self, modules: Iterable[nn.Module], device: torch.device) -> None:
        # A network has hundreds of small buffers: those of a type together, so that a GPU is not
        # kept waiting for hundreds of calls. A large one (centres) would be copied for nothing.
        together: dict[Any, list[Tensor]] = {}
        for buffer in (b for m in modules for b in m.buffers()):
            key = buffer.dtype if buffer.numel() <= _SMALL else id(buffer)
            together.setdefault(key, []).append(buffer)
        self._buffers = list(together.values())
        self._before: list[Tensor] = []
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)
        self.streak = torch.zeros((), dtype=torch.int64, device=device)

    def begin(self) -> None:
        """Remember the buffers before a step's forward."""
        self._before = [_flat(buffers) for buffers in self._buffers]

    @torch.no_grad()
    def end(self, found_inf: Tensor) -> None:
        """Put the buffers back where `found_inf` (a scalar, 0 or 1) is 1, and count."""
        bad = found_inf.bool()
        self.put_back(bad)
        self.skipped += bad
        self.streak = torch.where(bad, self.streak + 1, torch.zeros_like(self.streak))

    @torch.no_grad()
    def put_back(self, where: Tensor) -> None:
        """Undo what the buffers went through since `begin`, where the bool scalar is true."""
        for buffers, before in zip(self._buffers, self._before):
            now = _flat(buffers) if len(buffers) > 1 else buffers[0].reshape(-1)
            kept = torch.where(where, before, now).split([b.numel() for b in buffers])
            torch._foreach_copy_(buffers, [part.view_as(b) for part, b in zip(kept, buffers)])


def _flat(buffers: list[Tensor]) -> Tensor:
    """One (n,) copy."""
    return torch.cat([b.reshape(-1) for b in buffers])


def global_norm(
    gradients: list[Tensor], sharded: list[Tensor], loss: Tensor, group: object | None
) -> tuple[Tensor, Tensor]:
    """L2 norm of all gradients, and whether it or any rank's loss is not finite.

    One exchange for both, so that all ranks skip a step alike: a loss may be infinite on one rank
    with gradients that are finite everywhere.

    Args:
        gradients: which every rank has.
        sharded: of this rank alone.
        loss: this rank's, a scalar.
        group: the ranks, or None.

    Returns:
        float32 scalars: the norm, and 1 where the step must be skipped, else 0.
    """
    device = (gradients + sharded)[0].device
    total = torch.zeros((), device=device)
    if gradients:
        total = torch.nn.utils.get_total_norm(gradients).to(device).float() ** 2
    part = torch.zeros(2, device=device)
    if sharded:
        part[0] = torch.nn.utils.get_total_norm(sharded).to(device).float() ** 2
    part[1] = (~torch.isfinite(loss.detach())).to(part)
    if group is not None:
        torch.distributed.all_reduce(part, group=group)
    norm = (total + part[0]).sqrt()
    return norm, torch.maximum((~torch.isfinite(norm)).float(), part[1].clamp_max(1))


def clip_(gradients: list[Tensor], norm: Tensor, limit: float) -> None:
    """Scale the gradients in place so that their global norm is at most `limit`."""
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, factor)
