"""What bench_classifier.py measures: baselines written plainly, and one measurement a process."""

from __future__ import annotations

import ctypes
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import frfw

DIM = 512


class NormFace(nn.Module):
    """Plain dense cosine softmax: F.normalize, matmul, F.cross_entropy."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(64 * F.linear(F.normalize(x), F.normalize(self.weight)), y)


class PublicCurricular(nn.Module):
    """CurricularFace the way public code writes it: several B x C matrices, masks, scatter."""

    def __init__(self, weight: nn.Parameter, s: float = 64.0, m: float = 0.5) -> None:
        super().__init__()
        self.weight, self.s = weight, s
        self.cos_m, self.sin_m = math.cos(m), math.sin(m)
        self.edge, self.mm = math.cos(math.pi - m), math.sin(math.pi - m) * m
        self.register_buffer("t", torch.zeros(1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        cos = torch.mm(F.normalize(x), F.normalize(self.weight).t()).clamp(-1, 1)
        rows = torch.arange(len(x))
        own = cos[rows, y].view(-1, 1)
        sin = torch.sqrt(1.0 - own**2)
        with_margin = own * self.cos_m - sin * self.sin_m
        mask = cos > with_margin
        final = torch.where(own > self.edge, with_margin, own - self.mm)
        hard = cos[mask]
        with torch.no_grad():
            self.t.copy_(own.mean() * 0.01 + 0.99 * self.t)
        cos[mask] = hard * (self.t + hard)
        cos.scatter_(1, y.view(-1, 1), final)
        return F.cross_entropy(cos * self.s, y)


def tiled(loss: str, weight: nn.Parameter, **options) -> nn.Module:
    """A tiled head on the given weight; made small, since drawing centres is not measured."""
    head = frfw.create_classifier(loss, DIM, 500, "tiled", **options)
    head.weight, head.classes, head.class_range = weight, len(weight), (0, len(weight))
    return head


def step(head: Callable, x: Tensor, y: Tensor, weight: nn.Parameter) -> None:
    """Forward and backward; the weight's gradient is made anew, as after zero_grad."""
    weight.grad = None
    leaf = x.clone().requires_grad_()
    out = head(leaf, y)
    getattr(out, "loss", out).backward()


def bare_products(x: Tensor, weight: Tensor) -> None:
    """The three products that no method can avoid: logits, gradient of x, gradient of W."""
    logits = x @ weight.T
    _ = logits @ weight
    _ = logits.T @ x


def times(cases: dict[str, Callable[[], None]], rounds: int, clock: str) -> dict[str, list[float]]:
    """Seconds of every case in every round; the cases take turns, so that drift hits all alike.

    Each round has its own order, and a case is called once more before it is timed: training
    repeats one step, while here a dense head before it has just given its memory back to the
    system, so that the next case would pay for getting pages again.
    """
    now = time.process_time if clock == "cpu" else time.perf_counter
    found: dict[str, list[float]] = {name: [] for name in cases}
    for call in cases.values():
        call()
        call()
    order = random.Random(0)
    for _ in range(rounds):
        for name, call in order.sample(list(cases.items()), len(cases)):
            call()
            start = now()
            call()
            found[name].append(now() - start)
    return found


def time_case(classes: int, batch: int, losses: list[str], rounds: int, clock: str, compiled: bool):
    """Seconds a step of the baselines and of the tiled heads."""
    weight = nn.Parameter(torch.randn(classes, DIM) * 0.01)
    x, y = torch.randn(batch, DIM), torch.randint(classes, (batch,))
    logits = torch.randn(batch, classes, requires_grad=True)
    normface, public = NormFace(weight), PublicCurricular(weight)
    cases: dict[str, Callable[[], None]] = {
        "bare products": lambda: bare_products(x, weight.detach()),
        "dense NormFace": lambda: step(normface, x, y, weight),
        "public-style CurricularFace": lambda: step(public, x, y, weight),
        "F.cross_entropy alone": lambda: F.cross_entropy(logits, y).backward(),
    }
    for loss in losses:
        for name, budget in (("fastest", None), ("least memory", 0)):
            head = tiled(loss, weight, memory_budget=budget, compile=compiled)
            cases[f"{loss}, {name}"] = lambda head=head: step(head, x, y, weight)
    return times(cases, rounds, clock)


def memory_case(
    kind: str, loss: str, classes: int, batch: int, fused: bool = False, compiled: bool = False
) -> dict:
    """Peak bytes of one step beyond what was resident before it, and the weight's bytes.

    A small head runs first, so that libraries are loaded and code is compiled; then free memory is
    returned to the system and Linux's high-water mark is reset.
    """
    weight = nn.Parameter(torch.empty(classes, DIM).normal_(0, 0.01))
    # Several tiles, as the measured head has, where code is compiled for them.
    small = nn.Parameter(torch.randn(40_000 if compiled else 500, DIM) * 0.01)
    for held in (small, weight):
        count = len(held)
        x, y = torch.randn(batch, DIM), torch.randint(count, (batch,))
        budget = {"least": 0, "fastest": "450MB", "dense": None}[kind]
        if kind == "dense":
            head: Callable = PublicCurricular(held)
        else:
            head = tiled(loss, held, memory_budget=budget, fused_update=fused, compile=compiled)
            if fused:
                head.attach(torch.optim.SGD([held], lr=0.1))
        if held is small:
            step(head, x, y, held)
            small.grad = None
    before = reset_peak()
    step(head, x, y, weight)
    return {"extra": peak() - before, "weight": weight.nbytes, "before": before}


def reset_peak() -> int:
    """Return free memory to the system, reset the high-water mark; resident bytes now."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """Largest resident bytes since `reset_peak`."""
    return _status("VmHWM")


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}: this measurement needs Linux")


def plan_case(classes: int, batch: int, fused: bool, rate: float) -> dict:
    """Peak bytes of a whole training step of a head, with SGD's momentum, above an idle process.

    The step before it has made the momentum, so that the second is as all later ones.
    """
    small = nn.Parameter(torch.randn(500, DIM) * 0.01)
    _plan_step(small, batch, fused, rate)()
    del small
    before = reset_peak()
    weight = nn.Parameter(torch.empty(classes, DIM).normal_(0, 0.01))
    one = _plan_step(weight, batch, fused, rate)
    one()
    reset_peak()
    one()
    return {"bytes": peak() - before}


def _plan_step(weight: nn.Parameter, batch: int, fused: bool, rate: float) -> Callable[[], None]:
    x, y = torch.randn(batch, DIM), torch.randint(len(weight), (batch,))
    options = {"parallel": "sampled", "sample_rate": rate} if rate < 1 else {}
    head = tiled(
        "curricular", weight, memory_budget=0, fused_update=fused, compile=False, **options
    )
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9, weight_decay=5e-4, fused=True)
    head.attach(optimizer)

    def one() -> None:
        step(head, x, y, weight)
        optimizer.step()

    return one


def growth_case(classes: int, batch: int, rounds: int, clock: str) -> dict:
    """Time of CurricularFace in least-memory mode and of the bare products, in turn."""
    weight = nn.Parameter(torch.empty(classes, DIM).normal_(0, 0.01))
    x, y = torch.randn(batch, DIM), torch.randint(classes, (batch,))
    head = tiled("curricular", weight, memory_budget=0, compile=True)
    cases: dict[str, Callable[[], None]] = {
        "step": lambda: step(head, x, y, weight),
        "bare products": lambda: bare_products(x, weight.detach()),
    }
    return times(cases, rounds, clock)


def sharded_case(rank: int, world: int, port: int, classes: int, batch: int, rounds: int) -> dict:
    """Seconds a step of one or two processes that share the classes, one thread each."""
    import torch.distributed as dist

    if world > 1:
        dist.init_process_group(
            "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
        )
    head = frfw.create_classifier("curricular", DIM, classes, "tiled", parallel="sharded")
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, DIM, generator=generator).chunk(world)[rank].clone()
    y = torch.randint(classes, (batch,), generator=generator).chunk(world)[rank]
    wall, cpu = [], []
    for number in range(rounds + 2):
        start = time.perf_counter(), time.process_time()
        step(head, x, y, head.weight)
        if number >= 2:
            wall.append(time.perf_counter() - start[0])
            cpu.append(time.process_time() - start[1])
    return {"wall": wall, "cpu": cpu, "rows": len(head.weight)}


def precision_case(classes: int, batch: int, near: float) -> dict:
    """Relative errors of loss and gradients against dense float64, by precision of the products.

    Embeddings are random, or `near` times their own centre's direction and the rest at random, as
    in a training that has come some way.
    """
    torch.manual_seed(0)
    y = torch.randint(classes, (batch,))
    exact = frfw.create_classifier("curricular", DIM, classes).double()
    x = F.normalize(torch.randn(batch, DIM))
    own = F.normalize(exact.weight.detach().float()[y])
    x = near * own + math.sqrt(1 - near**2) * x

    def measure(head, x):
        x = x.clone().requires_grad_()
        out = head(x, y)
        out.loss.backward()
        return out.loss.detach(), x.grad, head.weight.grad

    expected = measure(exact, x.double())
    found = {}
    for name in ("fp32", "tf32", "bf16", "fp16"):
        head = frfw.create_classifier("curricular", DIM, classes, "tiled", precision=name)
        values = measure(head, x)
        found[name] = [((a - b).norm() / b.norm()).item() for a, b in zip(values, expected)]
    return found


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, and the quartiles around it."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high


CASES: dict[str, Callable[..., Any]] = {
    "plan": plan_case,
    "time": time_case,
    "memory": memory_case,
    "growth": growth_case,
    "sharded": sharded_case,
    "precision": precision_case,
}

if __name__ == "__main__":
    from classifier_device import device_case  # it needs what stands above

    CASES["device"] = device_case
    threads, case, arguments = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
    torch.set_num_threads(threads)
    found = CASES[case](*arguments)
    for figures in found if isinstance(found, Iterator) else [found]:
        print("RESULT " + json.dumps(figures), flush=True)
