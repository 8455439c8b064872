"""How an optimizer updates a head whose gradient never exists as one dense (C, D) matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from frfw.classifier.sampling import Active, joined
from frfw.errors import FrfwError


class FusedSGD:
    """SGD applied tile by tile inside backward, so that the head's gradient never exists.

    Learning rate, momentum and weight decay are read from the optimizer's group that holds the
    weight, and the momentum is kept in that optimizer's state under torch's own name, so that
    schedules and checkpoints see an ordinary SGD. The weight's `.grad` stays None. The rate must
    be set before backward.

    Args:
        optimizer: torch.optim.SGD that holds `weight`.
        weight: the head's.

    Raises:
        FrfwError: another optimizer, or options of it that are not supported.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, weight: nn.Parameter) -> None:
        if not isinstance(optimizer, torch.optim.SGD):
            raise FrfwError(
                f"classifier.fused_update works with SGD, not {type(optimizer).__name__}: "
                "set optimizer=sgd or classifier.fused_update=false"
            )
        self.optimizer, group = optimizer, _group_of(optimizer, weight)
        if group["dampening"] or group["maximize"]:
            raise FrfwError("classifier.fused_update does not support dampening or maximize")

    def apply(
        self,
        weight: Tensor,
        low: int,
        high: int,
        gradient: Tensor,
        active: Active | None,
        finite: Tensor,
    ) -> None:
        """Update rows [low, high) of those computed here; `gradient` is used up.

        Where the bool scalar `finite` is false (it stays on the device), nothing is moved.
        """
        group = _group_of(self.optimizer, weight)  # load_state_dict makes new ones
        mu = group["momentum"]
        values = weight.detach()
        rows = None if active is None else active.rows[low:high]
        tile = values[low:high] if rows is None else values[rows]
        if group["weight_decay"]:
            gradient.add_(tile, alpha=group["weight_decay"])
        gradient.masked_fill_(~finite, 0.0)
        if mu:
            buffer = self._momentum(weight)
            moved = buffer[low:high] if rows is None else buffer[rows]
            moved.mul_(torch.where(finite, torch.full_like(gradient[0, 0], mu), 1.0)).add_(gradient)
            if rows is not None:
                buffer.index_copy_(0, rows, moved)
            gradient = gradient.add_(moved, alpha=mu) if group["nesterov"] else moved
        rate = torch.full_like(gradient[0, 0], -float(group["lr"]))
        tile.addcmul_(gradient, torch.where(finite, rate, 0.0))
        if rows is not None:
            values.index_copy_(0, rows, tile)

    def _momentum(self, weight: Tensor) -> Tensor:
        state = self.optimizer.state[weight]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(weight, requires_grad=False)
        return state["momentum_buffer"]


class SampledRows:
    """Shows an optimizer only the rows whose gradient exists, so that the others do not move.

    A sampled head's gradient is a sparse tensor. Just before `optimizer.step()` the weight in its
    group is replaced by the sampled rows, with their rows of every state of the weight's shape
    (momentum, Adam's moments); just after, rows and state are put back. So an optimizer may keep
    numbers for each weight, which start at zero, and numbers for all of it, but nothing else.

    Args:
        optimizer: holds `weight`.
        weight: the head's.

    Raises:
        FrfwError: an optimizer of another kind (Adafactor, LBFGS, Rprop).
    """

    def __init__(self, optimizer: torch.optim.Optimizer, weight: nn.Parameter) -> None:
        name = type(optimizer).__name__
        if name in _UNFIT:
            raise FrfwError(
                f"sampled classes cannot be trained with {name}, which {_UNFIT[name]}: use SGD, "
                "Adam or AdamW, or classifier.sample_rate=1"
            )
        self.optimizer, self.weight = optimizer, weight
        _group_of(optimizer, weight)
        self.rows: Tensor | None = None
        self.stand_in: nn.Parameter | None = None
        self._hooks = (
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        )

    def detach(self) -> None:
        """Leave the optimizer alone from now on."""
        for hook in self._hooks:
            hook.remove()

    def recover(self) -> None:
        """Before a new step: what one that failed has left behind, its gradient too, goes."""
        if self._put_back():
            self.weight.grad = None

    def _put_back(self) -> bool:
        """Put the weight back into the optimizer where its last step failed and did not."""
        small, self.stand_in = self.stand_in, None
        if small is None:
            return False
        self._replace(small, self.weight)
        self.optimizer.state.pop(small, None)
        return True

    def _before_step(self, _: Any, own: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._put_back()
        self._narrow(*own[1:], **named)

    def _after_step(self, *_: object) -> None:
        self._widen()

    def _narrow(self, closure: object = None, **_: object) -> None:
        if closure is not None:
            raise FrfwError(
                "sampled classes cannot be trained with optimizer.step(closure): call backward "
                "first, then step()"
            )
        gradient = self.weight.grad
        if gradient is None or not gradient.is_sparse:
            return
        gradient = joined(gradient)
        self.rows = gradient.indices()[0]
        small = nn.Parameter(self.weight.detach()[self.rows])
        small.grad = gradient.values()
        group = _group_of(self.optimizer, self.weight)
        self._replace(self.weight, small)
        state = self.optimizer.state.get(self.weight, {})
        # The fused kernel would leave new memory as it came where a first step is skipped.
        sgd = isinstance(self.optimizer, torch.optim.SGD)
        if not state and sgd and group["momentum"] and not group["dampening"]:
            state["momentum_buffer"] = torch.zeros_like(self.weight, requires_grad=False)
            self.optimizer.state[self.weight] = state
        if state:
            self.optimizer.state[small] = {
                key: value[self.rows] if self._is_wide(value) else value
                for key, value in state.items()
            }
        self.stand_in = small

    @torch.no_grad()
    def _widen(self) -> None:
        small, self.stand_in = self.stand_in, None
        if small is None:
            return
        self.weight.index_copy_(0, self.rows, small)
        self._replace(small, self.weight)
        wide = self.optimizer.state[self.weight]
        for key, value in self.optimizer.state.pop(small, {}).items():
            if not isinstance(value, Tensor) or value.shape != small.shape:
                wide[key] = value
                continue
            if not self._is_wide(wide.get(key)):
                wide[key] = torch.zeros_like(self.weight, requires_grad=False)
            wide[key].index_copy_(0, self.rows, value)

    def _is_wide(self, value: Any) -> bool:
        return isinstance(value, Tensor) and value.shape == self.weight.shape

    def _replace(self, old: nn.Parameter, new: nn.Parameter) -> None:
        group = _group_of(self.optimizer, old)
        group["params"] = [new if p is old else p for p in group["params"]]


_UNFIT = {
    "Adafactor": "keeps sums over rows and columns of the weight",
    "LBFGS": "computes gradients inside its step",
    "Rprop": "starts every weight with a step size of its own",
}


def _group_of(optimizer: torch.optim.Optimizer, weight: nn.Parameter) -> dict[str, Any]:
    for group in optimizer.param_groups:
        if any(parameter is weight for parameter in group["params"]):
            return group
    raise FrfwError("the optimizer does not hold the classifier's weight: pass it its parameters")
