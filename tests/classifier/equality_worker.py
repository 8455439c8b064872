"""One process of the equality test: trains a small net with every loss and writes what it saw.

Run as `python equality_worker.py RANK WORLD PORT OUT DTYPE LOSSES CASE [CASE ...]` with LOSSES
comma-separated or "all", CASE = mode:parallel. Process 0 writes OUT.
"""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist

import frfw
from frfw.losses import formula_names

CLASSES, DIM, BATCH, STEPS = 31, 8, 13, 20


def batch(step: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The global batch of a step: features and labels; every fourth leaves shards without any."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(BATCH, DIM, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES if step % 4 else 5, (BATCH,), generator=generator)
    return x.to(dtype), labels


def split(step: int, world: int) -> list[int]:
    """Samples of every process; in every fifth step the last has none."""
    sizes = [len(part) for part in torch.arange(BATCH).tensor_split(world)]
    if world > 1 and step % 5 == 4:
        sizes[-2:] = [sum(sizes[-2:]), 0]
    return sizes


def train(loss: str, mode: str, parallel: str, rank: int, world: int, dtype: torch.dtype) -> dict:
    """Train 20 steps; return everything that must be the same however it was computed."""
    options = {"memory_budget": 0} if mode == "tiled0" else {}
    if loss == "circle" and dtype == torch.float32:
        options["s"] = 64.0  # its own 256 makes float32 rounding errors four times those of others
    head = frfw.create_classifier(
        loss, DIM, CLASSES, mode.rstrip("0"), parallel=parallel, seed=5, **options
    ).to(dtype)
    with torch.no_grad():
        head.weight.mul_(30)  # length 0.85, so that a step of SGD is not a leap
    generator = torch.Generator().manual_seed(1)
    backbone = torch.randn(DIM, DIM, generator=generator, dtype=torch.float64).to(dtype)
    backbone.requires_grad_()
    optimizer = torch.optim.SGD(
        [backbone, *head.parameters()], lr=0.002, momentum=0.9, weight_decay=5e-4
    )
    seen: dict[str, list] = {"loss": [], "backbone": [], "head": [], "state": []}
    for step in range(STEPS):
        sizes = split(step, world)
        start = sum(sizes[:rank])
        x, labels = (part[start : start + sizes[rank]] for part in batch(step, dtype))
        optimizer.zero_grad()
        out = head(x @ backbone, labels)
        out.loss.backward()
        head.reduce_gradients()
        value = out.loss.detach().clone()
        if world > 1:
            for shared in (backbone.grad, value):
                dist.all_reduce(shared)
                shared.div_(world)
        seen["loss"].append(value)
        seen["backbone"].append(backbone.grad.clone())
        seen["head"].append(gathered(head, head.weight.grad))
        seen["state"] += [b.clone() for b in head.formula.buffers()]
        optimizer.step()
    seen["head"].append(gathered(head, head.weight))
    return seen


def gathered(head, value: torch.Tensor) -> torch.Tensor | None:
    """The whole head's rows of `value`, on process 0."""
    from frfw.classifier.logical import whole

    found = whole(head, value)
    return None if found is None else found.clone()


def run(names: list[str], cases: list[str], rank: int, world: int, dtype: torch.dtype) -> dict:
    """Train every loss in every case: {"loss case": what was seen}."""
    return {
        f"{loss} {case}": train(loss, *case.split(":"), rank, world, dtype)
        for case in cases
        for loss in names
    }


def main() -> None:
    rank, world, port = (int(a) for a in sys.argv[1:4])
    out, dtype, losses, cases = sys.argv[4], sys.argv[5], sys.argv[6], sys.argv[7:]
    names = formula_names() if losses == "all" else losses.split(",")
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group(
            "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
        )
    found = run(names, cases, rank, world, getattr(torch, dtype))
    if rank == 0:
        torch.save(found, out)
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
