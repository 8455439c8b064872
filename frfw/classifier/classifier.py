"""The classifier: centres, a formula, and one of the ways to compute the margin softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from frfw.classifier.checks import agree
from frfw.classifier.dense import DenseSoftmax
from frfw.classifier.exchange import Exchange
from frfw.classifier.kernels import Kernels
from frfw.classifier.logical import held_part, logical, whole
from frfw.classifier.output import HeadOutput
from frfw.classifier.rows import class_range, initial_rows
from frfw.classifier.sampling import Active, ClassSampler, joined
from frfw.classifier.settings import Settings
from frfw.classifier.tiled import TiledSoftmax
from frfw.classifier.tiles import row_numbers
from frfw.classifier.unit import unit_length
from frfw.classifier.update import FusedSGD, SampledRows
from frfw.errors import FrfwError
from frfw.losses import Formula, Samples, widen

Weighting = Callable[..., Tensor]


class Classifier(nn.Module):
    """A margin softmax over `classes` identities. Made by `frfw.create_classifier`.

    Whatever the mode and the number of processes, loss, gradients and state are the same numbers.
    Gradients are of first order only.

    Args:
        formula: the loss as T and N.
        dim: width D of the embeddings.
        classes: number C of identities.
        weighting: from (B,) losses to a scalar whose mean over processes is the global loss;
            None: the mean.
        group: process group; None: the default one, or a single process.
        seed: of the initial centres, which depend on (seed, class) alone.
        sharded: whether this process holds only the classes of its `class_range`.
        settings: how to compute.

    Attributes:
        weight: parameter (classes held * K, D), class-major, K sub-centres a class.
        bias: parameter (classes held,) of a linear head; otherwise None.
        class_range: (start, stop) of the classes held.
        statistics: whether outputs carry the figures for tracking; costs time.
        check_finite: refuse embeddings that are not finite. A gradient scaler needs this off.
        fused: the update that backward applies while training, or None. See `attach`.
        sampled: what shows an optimizer the rows of sampled classes alone, or None. See `attach`.
    """

    def __init__(
        self,
        formula: Formula,
        dim: int,
        classes: int,
        *,
        weighting: Weighting | None = None,
        group: dist.ProcessGroup | None = None,
        seed: int = 0,
        sharded: bool = False,
        settings: Settings | None = None,
    ) -> None:
        super().__init__()
        self.formula, self.dim, self.classes, self.weighting = formula, dim, classes, weighting
        self.exchange = Exchange(group)
        self.sharded, self.settings = sharded, settings or Settings()
        self.class_range = self.range_of(self.exchange.rank if sharded else 0)
        start, stop = (edge * formula.sub_centers for edge in self.class_range)
        self.weight = nn.Parameter(initial_rows(start, stop, dim, seed))
        linear = formula.geometry == "linear"
        bias = nn.Parameter(torch.zeros(stop - start)) if linear else None
        self.register_parameter("bias", bias)
        self.statistics = False
        self.check_finite = True
        self.fused: FusedSGD | None = None
        self.sampled: SampledRows | None = None
        self.kernels = Kernels(formula, self.settings.compile)
        self.sampler: ClassSampler | None = None
        if self.settings.sample_rate < 1:
            corrected = self.settings.sampling == "corrected"
            self.sampler = ClassSampler(self.settings.sample_rate, seed, corrected)
            self.register_buffer("sample_step", torch.zeros((), dtype=torch.int64))
        self.register_state_dict_post_hook(_flatten_keys)
        self.register_load_state_dict_pre_hook(_nest_keys)

    def __getstate__(self) -> dict[str, Any]:
        """A copy, or what is loaded, belongs to no optimizer: it wants an `attach` of its own."""
        return {**self.__dict__, "fused": None, "sampled": None}

    @property
    def needs_whole_batch(self) -> bool:
        """Whether a state or the weighting must see the whole global batch in one call."""
        return self.formula.needs_whole_batch or getattr(self.weighting, "needs_whole_batch", False)

    def forward(self, embeddings: Tensor, labels: Tensor) -> HeadOutput:
        """Compute the loss of this process's batch.

        Args:
            embeddings: (B, D), float16, bfloat16, float32 or float64; taken to the precision of
                the weight first (`frfw.losses.widen`). B may differ between processes.
            labels: (B,) int64 in [0, classes).

        Raises:
            FrfwError: shapes, dtypes, labels or embeddings that cannot be, on every process.
        """
        if torch.compiler.is_compiling():
            return _uncompiled(self, embeddings, labels)
        return self._outside_autocast(embeddings, labels)

    def _outside_autocast(self, embeddings: Tensor, labels: Tensor) -> HeadOutput:
        device = self.weight.device.type
        if not torch.is_autocast_enabled(device):  # switching it off takes a while
            return self._forward(embeddings, labels)
        with torch.autocast(device, enabled=False):
            return self._forward(embeddings, labels)

    def _forward(self, embeddings: Tensor, labels: Tensor) -> HeadOutput:
        sizes = agree(
            embeddings, labels, self.weight, self.classes, self.exchange, self.check_finite
        )
        x = widen(embeddings, self.weight.dtype)
        if self.formula.geometry == "cosine":
            x, norm = unit_length(x)
        else:
            norm = torch.linalg.vector_norm(x, dim=1)
        softmax = self.softmax(x, labels, sizes)
        cos = softmax.target_cos
        self._observe(cos, norm, sizes)
        start = sum(sizes[: self.exchange.rank])
        index = row_numbers(start, start + len(labels), labels.device)
        samples = Samples(cos, norm, labels, index)
        if self.formula.uses_survey:
            samples = self._survey(softmax, samples)
        target, threshold = self.formula.target(samples), self.formula.threshold(samples).detach()
        per_sample, p = softmax.loss(target, threshold, self.formula.scale(samples))
        extra: dict[str, Any] = softmax.statistics(target, threshold) if self.statistics else {}
        self._observe_probability(p, sizes)  # after the figures of the state that made this loss
        loss = self._weigh(per_sample, sizes)
        regulariser = self.formula.regulariser(samples)
        if regulariser is not None:  # a term of its own: focal and OHEM weigh the classification
            per_sample = per_sample + regulariser
            loss = loss + self._mean(regulariser, sizes)
        return HeadOutput(loss, per_sample, cos.detach(), p, **extra)

    def softmax(self, x: Tensor, labels: Tensor, sizes: list[int]) -> DenseSoftmax | TiledSoftmax:
        """Start one batch in this classifier's mode. x (B, D), of unit length for cosines."""
        if self.settings.mode == "dense":
            return DenseSoftmax(self, x, labels)
        if self.training and torch.is_grad_enabled():
            self._refuse_without_optimizer()
        return TiledSoftmax(self, x, labels, sizes)

    def _refuse_without_optimizer(self) -> None:
        if self.settings.fused_update and self.fused is None:
            raise FrfwError("classifier.fused_update: call classifier.attach(optimizer) first")
        if self.sampler is not None and self.sampled is None and self.fused is None:
            raise FrfwError(
                "classifier.parallel=sampled: call classifier.attach(optimizer) first, so that "
                "classes which were not drawn do not move"
            )

    def sample(self, labels: Tensor) -> Active | None:
        """The classes that take part in this step, for the labels of the global batch; None: all.

        While evaluating, all do.
        """
        if self.sampler is None or not self.training:
            return None
        if self.sampled is not None:
            self.sampled.recover()
        drawn = self.sampler(
            labels,
            *self.class_range,
            self.formula.sub_centers,
            self.sample_step,
            self.weight.dtype,
        )
        self.sample_step += 1
        return drawn

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Tell the classifier the optimizer that holds its weight, before training.

        Needed with sampled classes (so that only their rows move, see `SampledRows`) and with the
        fused update (see `FusedSGD`); otherwise it does nothing. A later call replaces an earlier.

        Raises:
            FrfwError: an optimizer that cannot do this.
        """
        if self.settings.fused_update:
            self.fused = FusedSGD(optimizer, self.weight)
        elif self.sampler is not None:
            if self.sampled is not None:
                self.sampled.detach()
            self.sampled = SampledRows(optimizer, self.weight)

    def check_training(
        self, *, clip_norm: float | None = None, accumulation: int = 1, loss_scaling: bool = False
    ) -> None:
        """Refuse what cannot be combined with the fused update, before a run starts.

        The update is applied inside backward: clipping and loss scaling would have to know the
        whole gradient first, accumulation would update once a micro-batch.

        Raises:
            FrfwError: what to change.
        """
        reasons = {
            "gradient clipping": bool(clip_norm),
            "gradient accumulation": accumulation > 1,
            "loss scaling (precision=fp16)": loss_scaling,
        }
        found = [name for name, present in reasons.items() if present]
        if self.settings.fused_update and found:
            raise FrfwError(
                f"classifier.fused_update cannot be combined with {' and '.join(found)}: the head "
                "is updated while its gradient is being computed. Set classifier.fused_update=false"
            )

    def reduce_gradients(self) -> None:
        """Average the head's gradients over processes, once a step after all backward passes.

        A sharded head's are complete already. Sparse ones (sampled classes) are joined, so that
        every row is there once: their norm is that of `weight.grad._values()`.
        """
        if self.weight.grad is not None and self.weight.grad.is_sparse:
            self.weight.grad = joined(self.weight.grad)
        world = self.exchange.world
        if world == 1 or self.sharded:
            return
        for parameter in self.parameters():
            if parameter.grad is not None:
                self.exchange.sum_(parameter.grad).div_(world)

    def range_of(self, rank: int) -> tuple[int, int]:
        """(start, stop) of the classes that a process holds."""
        return class_range(self.classes, rank, self.exchange.world if self.sharded else 1)

    def logical_state(self) -> dict[str, Tensor]:
        """The state dict with `weight` (and `bias`) as one logical tensor over all processes.

        A sharded head's are DTensors for `torch.distributed.checkpoint`, which re-shards them
        when the number of processes changes; all tensors share their memory with the head's.
        """
        state = self.state_dict()
        held = {name for name, _ in self.named_parameters()}
        return {k: logical(self, v) if k in held else v for k, v in state.items()}

    def load_logical_state(self, state: dict[str, Tensor]) -> None:
        """Load `logical_state`, or a state dict of the whole head, into this process's part.

        Raises:
            FrfwError: another number of classes.
        """
        held = {name for name, _ in self.named_parameters()}
        self.load_state_dict({k: held_part(self, v) if k in held else v for k, v in state.items()})

    def whole_state(self) -> dict[str, Tensor]:
        """The state dict of the whole head on the CPU, as one process would have it.

        Every process must call it. Process 0 gets everything; the others get no parameters.
        """
        held = {name for name, _ in self.named_parameters()}
        state = {k: whole(self, v) if k in held else v for k, v in self.state_dict().items()}
        return {k: v for k, v in state.items() if v is not None}

    def _survey(self, softmax: Any, own: Samples) -> Samples:
        rows = Samples(
            softmax.global_rows(own.cos.detach()),
            softmax.global_rows(own.norm.detach()),
            softmax.global_rows(own.label),
            softmax.global_rows(own.index),
        )
        totals = softmax.survey(self.formula.threshold(rows).detach(), rows)
        return Samples(own.cos, own.norm, own.label, own.index, totals)

    @torch.no_grad()
    def _observe(self, cos: Tensor, norm: Tensor, sizes: list[int]) -> None:
        if not self.training:
            return
        if not self.formula.needs_whole_batch or self.exchange.world == 1:
            self.formula.observe(cos.detach(), norm.detach())
            return
        both = self.exchange.rows(torch.stack([cos.detach(), norm.detach()], 1), sizes)
        self.formula.observe(both[:, 0], both[:, 1])

    @torch.no_grad()
    def _observe_probability(self, p: Tensor, sizes: list[int]) -> None:
        if not self.training:
            return
        if self.formula.needs_whole_batch:
            p = self.exchange.rows(p, sizes)
        self.formula.observe_probability(p)

    def _weigh(self, per_sample: Tensor, sizes: list[int]) -> Tensor:
        if self.weighting is not None:
            return self.weighting(per_sample, group=self.exchange.group)
        return self._mean(per_sample, sizes)

    def _mean(self, values: Tensor, sizes: list[int]) -> Tensor:
        """Mean over the global batch, in the sense that the mean over processes is."""
        if self.exchange.world == 1:
            return values.mean()
        return values.sum() * (self.exchange.world / sum(sizes))

    def extra_repr(self) -> str:
        start, stop = self.class_range
        return f"dim={self.dim}, classes={self.classes}, held={start}..{stop - 1}"


# In a compiled model the head stays as it is: it compiles its own loops, and a compiler that knows
# better than `precision` would undo the rounding.
_uncompiled = torch._disable_dynamo(Classifier._outside_autocast)


def _flatten_keys(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Name the formula's state as the public heads do: `t`, not `formula.t`."""
    nested = f"{prefix}formula."
    for key in [key for key in state if key.startswith(nested)]:
        state[prefix + key[len(nested) :]] = state.pop(key)


def _nest_keys(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, _buffer in module.formula.named_buffers():
        if prefix + name in state:
            state[f"{prefix}formula.{name}"] = state.pop(prefix + name)
    if module.sampler is None:  # the state is that of a head that was trained by sampling
        state.pop(f"{prefix}sample_step", None)
    else:
        state.setdefault(f"{prefix}sample_step", module.sample_step)
