"""What `bench_classifier.py device` measures: whole steps on a GPU, or on the CPU to try it."""

from __future__ import annotations

import time
from collections.abc import Callable
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
            head.attach(torch.optim.SGD([weight], lr=0.1, momentum=0.9))
        return head, weight
    head = HalfNormFace(weight, torch.bfloat16)
    return (torch.compile(head) if kind.endswith("compiled") else head), weight


def head_case(device: str, kind: str, classes: int, batch: int, rounds: int) -> dict[str, Any]:
    """Seconds of every round and peak bytes of a head's step; {"full": true} if it does not fit."""
    try:
        head, weight = make_head(kind, classes, device)
        x = torch.randn(batch, DIM, device=device, requires_grad=True)
        y = torch.randint(classes, (batch,), device=device)

        def step() -> None:
            weight.grad = x.grad = None
            out = head(x, y)
            getattr(out, "loss", out).backward()

        return {"seconds": timed(step, rounds, device), "peak": peak_of(step, device)}
    except torch.OutOfMemoryError:
        return {"full": True}


def training_case(
    device: str, backbone: str, size: int, classes: int, batch: int, rounds: int
) -> dict[str, Any]:
    """The same of a whole training step in bf16: backbone, tiled head, SGD."""
    try:
        network = frfw.create_backbone(backbone, embedding_dim=DIM, input_size=size)
        network = network.to(device, memory_format=torch.channels_last)
        head, _ = make_head("tiled", classes, device)
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

        return {"seconds": timed(step, rounds, device), "peak": peak_of(step, device)}
    except torch.OutOfMemoryError:
        return {"full": True}


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


def device_case(device: str, classes: int, batches: list[int], size: int, rounds: int) -> dict:
    """Everything in one process: heads by kind and batch, the most classes, whole trainings."""
    found: dict[str, Any] = {"device": device_name(device), "heads": {}, "trainings": {}}
    found["most classes"] = {}
    for batch in batches:
        for kind in KINDS:
            figures = head_case(device, kind, classes, batch, rounds)
            found["heads"][f"{kind} | {classes:,} | {batch:,}"] = figures
            release(device)
    if device == "cuda":  # a CPU would swap, not refuse
        for kind in ("tiled, least memory", "tiled, fused update", "dense"):
            found["most classes"][kind] = most_classes(
                lambda count, kind=kind: fits(device, kind, count, batches[0]), classes
            )
    for backbone in ("iresnet50", "mobilefacenet"):
        for batch in batches:
            figures = training_case(device, backbone, size, classes, batch, rounds)
            found["trainings"][f"{backbone} | {batch:,}"] = {**figures, "batch": batch}
            release(device)
    return found


def fits(device: str, kind: str, classes: int, batch: int) -> bool:
    """Whether a head of so many classes does a step on the device."""
    full = head_case(device, kind, classes, batch, 1).get("full", False)
    release(device)
    return not full


def most_classes(fitting: Callable[[int], bool], start: int) -> int:
    """The most classes that fit, to an eighth of them: doubled until they do not, then halved."""
    low, high = 0, start
    while fitting(high):
        low, high = high, 2 * high
    for _ in range(3):
        middle = (low + high) // 2
        low, high = (middle, high) if fitting(middle) else (low, middle)
    return low


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
        speed = "" if value.get("full") else f"{value['batch'] / spread(value['seconds'])[0]:.0f}"
        print(f"| {name} | {_time(value)} | {speed} |")
    for kind, count in figures["most classes"].items():
        print(f"\nmost classes, {kind}: {count:,}")


def _header(*columns: str) -> None:
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")


def _time(value: dict[str, Any]) -> str:
    if value.get("full"):
        return "does not fit | "
    middle, low, high = (1e3 * v for v in spread(value["seconds"]))
    return f"{middle:.1f} ({low:.1f} to {high:.1f}) | {value['peak'] / 1e6:.0f}"
