"""What `bench_classifier.py device` measures: whole steps on a GPU, or on the CPU to try it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from classifier_cases import DIM, peak, reset_peak, spread, tiled
from torch import Tensor, nn

import frfw

KINDS = ("tiled", "tiled, least memory", "tiled, fused update", "dense", "dense, compiled")


class HalfNormFace(nn.Module):
    """Dense cosine softmax with products in `dtype`, as a training under autocast has it."""

    def __init__(self, weight: nn.Parameter, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight, self.dtype = weight, dtype

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast(x.device.type, dtype=self.dtype):
            cos = F.linear(F.normalize(x), F.normalize(self.weight))
        return F.cross_entropy(64 * cos.float(), y)


def make_head(kind: str, classes: int, device: str) -> tuple[Callable, nn.Parameter]:
    """A CurricularFace head in tiles, or NormFace as dense code writes it; its centres."""
    weight = nn.Parameter(torch.empty(classes, DIM, device=device).normal_(0, 0.01))
    if kind.startswith("tiled"):
        fused = kind.endswith("fused update")
        budget = 0 if kind.endswith("least memory") else "16GiB"
        head: Any = tiled(
            "curricular", weight, precision="bf16", memory_budget=budget, fused_update=fused,
            compile=True,
        ).to(device)  # fmt: skip
        if fused:
            head.attach(torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9))
        return head, head.weight
    head = HalfNormFace(weight, torch.bfloat16)
    return (torch.compile(head) if kind.endswith("compiled") else head), weight


def head_case(device: str, kind: str, classes: int, batch: int, rounds: int) -> dict[str, Any]:
    """Seconds of every round and peak bytes of a head's step, or why there are none."""

    def measure() -> dict[str, Any]:
        head, weight = make_head(kind, classes, device)
        x = torch.randn(batch, DIM, device=device, requires_grad=True)
        y = torch.randint(classes, (batch,), device=device)

        def step() -> None:
            weight.grad = x.grad = None
            out = head(x, y)
            getattr(out, "loss", out).backward()

        return figures_of(step, rounds, device, head)

    return attempt(measure)


def attempt(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What it measures; {"full": true} where memory ends, {"failed": why} for anything else."""
    try:
        return measure()
    except Exception as error:
        told = (str(error).splitlines() or [type(error).__name__])[0][:200]
        full = isinstance(error, torch.OutOfMemoryError) or any(
            words in str(error).lower() for words in ("out of memory", "alloc_failed")
        )
        return {"full": True} if full else {"failed": f"{type(error).__name__}: {told}"}


def figures_of(step: Callable[[], None], rounds: int, device: str, head: Any) -> dict[str, Any]:
    """Seconds and peak bytes of a step, and whether plain operations had to do the work."""
    found = {"seconds": timed(step, rounds, device), "peak": peak_of(step, device)}
    kernels = getattr(head, "kernels", None)
    return {**found, "plain": kernels is not None and not kernels.compiled}


def training_case(
    device: str, backbone: str, size: int, classes: int, batch: int, rounds: int
) -> dict[str, Any]:
    """The same of a whole training step in bf16: backbone, tiled head, SGD."""

    def measure() -> dict[str, Any]:
        network = frfw.create_backbone(backbone, embedding_dim=DIM, input_size=size)
        network = network.to(device, memory_format=torch.channels_last)
        head: Any = make_head("tiled", classes, device)[0]
        parameters = [*network.parameters(), *head.parameters()]
        optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, fused=True)
        images = torch.randn(batch, 3, size, size, device=device)
        images = images.to(memory_format=torch.channels_last)
        y = torch.randint(classes, (batch,), device=device)

        def step() -> None:
            optimizer.zero_grad()
            with torch.autocast(device, dtype=torch.bfloat16):
                x = network(images)
            head(x, y).loss.backward()
            optimizer.step()

        return figures_of(step, rounds, device, head)

    return attempt(measure)


def timed(step: Callable[[], None], rounds: int, device: str) -> list[float]:
    """Seconds of every round, after three that are not counted."""
    found = []
    for number in range(rounds + 3):
        wait(device)
        start = time.perf_counter()
        step()
        wait(device)
        if number >= 3:
            found.append(time.perf_counter() - start)
    return found


def peak_of(step: Callable[[], None], device: str) -> int:
    """Bytes on the device at the peak of a step (of a CPU: resident bytes of the process)."""
    if device != "cuda":
        reset_peak()
        step()
        return peak()
    torch.cuda.reset_peak_memory_stats()
    step()
    wait(device)
    return torch.cuda.max_memory_allocated()


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def device_case(
    device: str, classes: list[int], batches: list[int], size: int, rounds: int, minutes: float
) -> Iterator[dict[str, Any]]:
    """Everything in one process: heads, whole trainings, the most classes that fit.

    Yields all that was measured after each measurement, since the time on a GPU may end; after
    `minutes` none is begun.
    """
    end = time.monotonic() + 60 * minutes
    found: dict[str, Any] = {"device": f"{device_name(device)}, torch {torch.__version__}"}
    found |= {"heads": {}, "trainings": {}, "most classes": {}, "left out": 0}
    cases: list[tuple[str, str, Callable[[], Any]]] = []
    for count in classes:
        for batch in batches:
            for kind in KINDS:
                case = partial(head_case, device, kind, count, batch, rounds)
                cases.append(("heads", f"{kind} | {count:,} | {batch:,}", case))
    for backbone in ("iresnet50", "mobilefacenet"):
        for batch in batches:
            case = partial(training_case, device, backbone, size, max(classes), batch, rounds)
            cases.append(("trainings", f"{backbone} | {batch:,}", case))
    if device == "cuda":  # a CPU would swap, not refuse
        for kind in ("tiled, least memory", "tiled, fused update", "dense"):
            fitting = partial(fits, device, kind, batches[0], end)
            cases.append(("most classes", kind, partial(most_classes, fitting, max(classes))))
    for where, name, case in cases:
        if time.monotonic() > end:
            found["left out"] += 1
            continue
        found[where][name] = case()
        release(device)
        yield found
    yield found


def fits(device: str, kind: str, batch: int, end: float, classes: int) -> bool | None:
    """Whether a head of so many classes does a step on the device; None: that cannot be seen."""
    if time.monotonic() > end:
        return None
    found = head_case(device, kind, classes, batch, 1)
    return None if "failed" in found else "seconds" in found


def most_classes(fitting: Callable[[int], bool | None], start: int) -> dict[str, int]:
    """The most classes that fit, to an eighth of them: doubled until they do not, then halved.

    Returns:
        `fit`, and `full` that do not (0: not found in the time that there was).
    """
    low, high = 0, start
    while verdict := fitting(high):
        low, high = high, 2 * high
    if verdict is None:
        return {"fit": low, "full": 0}
    for _ in range(3):
        middle = (low + high) // 2
        verdict = fitting(middle)
        if verdict is None:
            break
        low, high = (middle, high) if verdict else (low, middle)
    return {"fit": low, "full": high}


def release(device: str) -> None:
    """Give back what the last case held, compiled code as well."""
    torch.compiler.reset()
    if device == "cuda":
        torch.cuda.empty_cache()


def device_name(device: str) -> str:
    """The GPU's name, or "cpu"."""
    return torch.cuda.get_device_name() if device == "cuda" else device


def show_device(figures: dict[str, Any]) -> None:
    """Print the tables."""
    print(f"{figures['device']}; 512-d, products in bf16; tiled: CurricularFace, dense: NormFace\n")
    columns = ["batch", "ms a step (quartiles)", "peak MB"]
    _header("head", "classes", *columns)
    for name, value in figures["heads"].items():
        print(f"| {name} | {_time(value)} |")
    print()
    _header("backbone", *columns, "images/s")
    for name, value in figures["trainings"].items():
        batch = int(name.rsplit("| ", 1)[1].replace(",", ""))
        speed = f"{batch / spread(value['seconds'])[0]:.0f}" if "seconds" in value else ""
        print(f"| {name} | {_time(value)} | {speed} |")
    for kind, count in figures["most classes"].items():
        full = f"; {count['full']:,} do not" if count["full"] else "; more was not tried"
        print(f"\n{kind}: {count['fit']:,} classes fit{full}")
    if figures.get("left out"):
        print(f"\n{figures['left out']} measurements were left out: the time was over")


def _header(*columns: str) -> None:
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")


def _time(value: dict[str, Any]) -> str:
    if "seconds" not in value:
        return f"{value.get('failed', 'does not fit')} | "
    middle, low, high = (1e3 * v for v in spread(value["seconds"]))
    plain = " (not compiled)" if value["plain"] else ""
    return f"{middle:.1f} ({low:.1f} to {high:.1f}){plain} | {value['peak'] / 1e6:.0f}"
