"""The ways to run one training over devices, with the bytes of each."""

from __future__ import annotations

from dataclasses import dataclass, field

from frfw.classifier.rows import class_range
from frfw.classifier.tiles import plan_tiles
from frfw.errors import FrfwError
from frfw.planning.head import head_bytes, head_flops
from frfw.planning.network import Network

PRECISIONS = {"fp32": 4, "bf16": 2, "fp16": 2}  # and bytes of a number of the activations
_WAYS = [(p, fused) for p in ("replicated", "sharded", "sampled") for fused in (False, True)]


@dataclass(frozen=True)
class Job:
    """What is to be trained, and on what. Bytes are plain numbers.

    Attributes:
        classes, dim, sub_centers: of the head.
        devices, batch: number of devices, samples of a step over all of them.
        precision: of the backbone's activations: fp32, bf16 or fp16.
        memory: bytes of a device, less what is left free.
        sample_rate: of the sampled setting.
        momentum: numbers an optimizer keeps for a weight (SGD 1, AdamW 2).
        memory_budget: of the head's tiles.
        cuda: GPU or CPU.

    Raises:
        FrfwError: fewer classes than devices, or a batch that does not divide over them.
    """

    classes: int
    dim: int
    sub_centers: int
    devices: int
    batch: int
    precision: str
    memory: int
    sample_rate: float
    momentum: int
    memory_budget: int | None
    cuda: bool

    def __post_init__(self) -> None:
        if self.devices > self.classes:
            raise FrfwError(f"devices={self.devices} for classes={self.classes}: use fewer devices")
        if self.batch % self.devices:
            below = self.batch // self.devices * self.devices or self.devices
            raise FrfwError(
                f"global_batch_size={self.batch} does not divide over devices={self.devices}: take "
                f"{below} or {below + self.devices}"
            )


@dataclass
class Setting:
    """One way to run a job, for one device.

    Attributes:
        parallel, fused: `classifier.parallel`, `classifier.fused_update`.
        bytes: by part; `total` is their sum.
        flops: of the head's matrix products, a step.
        sent: bytes that this device exchanges a step for the head.
        fits: whether the total fits the device.
    """

    parallel: str
    fused: bool
    bytes: dict[str, int]
    flops: float
    sent: int
    fits: bool = False
    total: int = field(init=False)

    def __post_init__(self) -> None:
        self.total = sum(self.bytes.values())

    @property
    def name(self) -> str:
        return _name(self.parallel, self.fused)

    @property
    def cost(self) -> tuple[bool, float, int, bool, int]:
        """Order of preference: exact before sampled, then work, exchange, plain update, memory.

        The fused update comes late, because it excludes gradient clipping and accumulation.
        """
        return (self.parallel == "sampled", self.flops, self.sent, self.fused, self.total)


def settings(job: Job, network: Network) -> list[Setting]:
    """All ways to run the job that training does not refuse."""
    found = []
    for parallel, fused in _WAYS:
        if refusal(job, parallel, fused) is None:
            setting = _setting(job, network, parallel, fused)
            setting.fits = setting.total <= job.memory
            found.append(setting)
    return found


def left_out(job: Job) -> dict[str, list[str]]:
    """The ways that training refuses: {reason: names of the settings}."""
    found: dict[str, list[str]] = {}
    for way in _WAYS:
        reason = refusal(job, *way)
        if reason is not None:
            found.setdefault(reason, []).append(_name(*way))
    return found


def refusal(job: Job, parallel: str, fused: bool) -> str | None:
    """Why training refuses a way to run the job; None where it does not."""
    if fused and job.momentum == 2:
        return "the fused update is SGD (optimizer=sgd)"
    if fused and job.precision == "fp16":
        return "the fused update excludes the loss scaling of precision=fp16"
    if fused and parallel == "replicated" and job.devices > 1:
        return "replicated gradients are averaged before the update"
    if parallel != "replicated":
        try:
            class_range(job.classes, 0, job.devices)
        except FrfwError:
            return f"{job.classes} classes do not spread over {job.devices} devices"
    return None


def cheapest(found: list[Setting]) -> Setting | None:
    """The cheapest setting that fits, or None."""
    return min((s for s in found if s.fits), key=lambda s: s.cost, default=None)


def _setting(job: Job, network: Network, parallel: str, fused: bool) -> Setting:
    own = -(-job.batch // job.devices)
    spread = parallel != "replicated"
    classes = -(-job.classes // job.devices) if spread else job.classes
    rows = job.batch if spread else own
    sampled = None
    if parallel == "sampled" and job.sample_rate < 1:
        sampled = min(classes, round(classes * job.sample_rate) + -(-job.batch // job.devices))
    head = head_bytes(
        classes=classes,
        dim=job.dim,
        batch=rows,
        sampled=sampled,
        sub_centers=job.sub_centers,
        memory_budget=job.memory_budget,
        fused=fused,
        momentum=job.momentum,
        cuda=job.cuda,
        compiled=True,
    )
    plan = plan_tiles(
        rows, sampled or classes, job.sub_centers, 4, job.cuda, job.memory_budget, True, job.dim
    )
    parts = {
        "backbone weights": 4 * network.parameters,
        "backbone gradient": 4 * network.parameters,
        "backbone optimizer": 4 * job.momentum * network.parameters,
        "activations": PRECISIONS[job.precision] * network.activations * own,
        **{f"head {name}": value for name, value in head.items()},
    }
    sent = 0
    if job.devices > 1:
        sent = 2 * 4 * rows * job.dim if spread else 2 * head["gradient"]
    flops = head_flops(sampled or classes, job.dim, rows, job.sub_centers, plan.keep)
    return Setting(parallel, fused, parts, flops, sent)


def _name(parallel: str, fused: bool) -> str:
    return parallel + (" + fused update" if fused else "")
