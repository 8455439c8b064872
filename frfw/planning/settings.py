"""The ways to run one training over devices, with the bytes of each."""

from __future__ import annotations

from dataclasses import dataclass, field

from frfw.classifier.tiles import plan_tiles
from frfw.errors import FrfwError
from frfw.planning.head import head_bytes, head_flops
from frfw.planning.network import Network

_PIXEL = {"fp32": 4, "bf16": 2, "fp16": 2}


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
        return self.parallel + (" + fused update" if self.fused else "")

    @property
    def cost(self) -> tuple[bool, float, int, bool, int]:
        """Order of preference: exact before sampled, then work, exchange, plain update, memory.

        The fused update comes late, because it excludes gradient clipping and accumulation.
        """
        return (self.parallel == "sampled", self.flops, self.sent, self.fused, self.total)


def settings(job: Job, network: Network) -> list[Setting]:
    """All ways to run the job.

    Raises:
        FrfwError: numbers that cannot be.
    """
    _check(job)
    found = []
    for parallel in ("replicated", "sharded", "sampled"):
        for fused in (False, True):
            if fused and (job.momentum != 1 or (parallel == "replicated" and job.devices > 1)):
                continue  # the classifier refuses these
            setting = _setting(job, network, parallel, fused)
            setting.fits = setting.total <= job.memory
            found.append(setting)
    return found


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
        momentum=False,
        cuda=job.cuda,
        compiled=True,
    )
    head["optimizer"] = job.momentum * head["weights"]
    plan = plan_tiles(
        rows, sampled or classes, job.sub_centers, 4, job.cuda, job.memory_budget, True
    )
    parts = {
        "backbone weights": 4 * network.parameters,
        "backbone gradient": 4 * network.parameters,
        "backbone optimizer": 4 * job.momentum * network.parameters,
        "activations": _PIXEL[job.precision] * network.activations * own,
        **{f"head {name}": value for name, value in head.items()},
    }
    sent = 0
    if job.devices > 1:
        sent = 2 * 4 * rows * job.dim if spread else 2 * head["gradient"]
    flops = head_flops(sampled or classes, job.dim, rows, job.sub_centers, plan.keep)
    return Setting(parallel, fused, parts, flops, sent)


def _check(job: Job) -> None:
    for name in ("classes", "dim", "sub_centers", "devices", "batch", "memory"):
        if getattr(job, name) < 1:
            raise FrfwError(f"{name} must be at least 1: got {getattr(job, name)}")
    if job.devices > job.classes:
        raise FrfwError(f"{job.devices} devices for {job.classes} classes: use fewer devices")
    if job.batch < job.devices:
        raise FrfwError(f"global_batch_size={job.batch} leaves devices without a sample")
    if not 0 < job.sample_rate <= 1:
        raise FrfwError(f"sample_rate must be in (0, 1]: got {job.sample_rate}")
    if job.precision not in _PIXEL:
        raise FrfwError(f"precision={job.precision}: choose {', '.join(_PIXEL)}")
