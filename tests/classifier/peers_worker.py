"""Two processes: errors on both, one logical checkpoint, sampling and fused update over shards.

Run as `python peers_worker.py RANK WORLD PORT FOLDER`; prints one JSON object.
"""

from __future__ import annotations

import json
import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

import frfw
from frfw.errors import FrfwError

CLASSES, DIM = 41, 8


def batch(step: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(10, DIM, generator=generator, dtype=torch.float64)
    y = torch.randint(CLASSES, (10,), generator=generator)
    part = slice(0, 6) if rank == 0 else slice(6, 10)
    return (x, y) if rank < 0 else (x[part], y[part])


def refused(call) -> str:
    try:
        call()
    except FrfwError as error:
        return str(error)
    return "accepted"


def train(rank: int, steps: int = 4, **options) -> tuple[torch.nn.Module, list[float]]:
    """Rank -1: the same run in one process."""
    head = frfw.create_classifier("curricular", DIM, CLASSES, "tiled", seed=3, **options).double()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    head.attach(optimizer)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        out = head(*batch(step, rank))
        out.loss.backward()
        optimizer.step()
        value = out.loss.detach().clone()
        if rank >= 0:
            dist.all_reduce(value)
            value /= 2
        losses.append(value.item())
    return head, losses


def main() -> None:
    rank, world, port, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
    )
    found = {}
    for parallel in ("replicated", "sharded"):
        head = frfw.create_classifier("arcface", DIM, CLASSES, "tiled", parallel=parallel)
        x, y = torch.randn(3, DIM), torch.tensor([0, 1, CLASSES if rank == 1 else 2])
        found[f"label_{parallel}"] = refused(lambda h=head, a=x, b=y: h(a, b))
        x[0, 0] = float("nan") if rank == 0 else 0.0
        y.clamp_(max=CLASSES - 1)
        found[f"nan_{parallel}"] = refused(lambda h=head, a=x, b=y: h(a, b))
        x, y = torch.zeros(3, DIM), [0, 1, 2] if rank == 1 else torch.tensor([0, 1, 2])
        found[f"type_{parallel}"] = refused(lambda h=head, a=x, b=y: h(a, b))
        x = torch.tensor(1.0) if rank == 1 else torch.zeros(3, DIM)
        y = torch.zeros(3, 1 if rank == 1 else 3, dtype=torch.int64)[:, 0]
        found[f"scalar_{parallel}"] = refused(lambda h=head, a=x, b=y: h(a, b))
    for mode in ("dense", "tiled"):  # one process without a sample
        head = frfw.create_classifier("curricular", DIM, CLASSES, mode)
        head.statistics = True
        out = head(*(part[: 3 * rank] for part in (torch.ones(3, DIM), torch.arange(3))))
        found[f"empty_{mode}"] = [len(out.hard_share), out.modulation["max"].item()]
    found["range"] = refused(
        lambda: frfw.create_classifier("arcface", DIM, 1, "tiled", parallel="sharded")
    )
    found["fused"] = refused(
        lambda: frfw.create_classifier("arcface", DIM, CLASSES, "tiled", fused_update=True)
    )
    sampled = {"parallel": "sampled", "sample_rate": 0.3}
    head, found["sampled"] = train(rank, **sampled)
    torch.save(head.whole_state(), f"{folder}/sampled{rank}.pt")
    head, found["fused_losses"] = train(rank, parallel="sharded", fused_update=True)
    head.statistics = True
    out = head(*batch(9, rank))
    found["hard_share"] = out.hard_share.tolist()
    dcp.save({"head": head.logical_state()}, checkpoint_id=f"{folder}/dcp")
    torch.save(head.whole_state(), f"{folder}/whole{rank}.pt")
    # Back into another split of the same head: one process's part is read from two files.
    other = frfw.create_classifier(
        "curricular", DIM, CLASSES, "tiled", seed=8, parallel="sharded"
    ).double()
    more = frfw.create_classifier("curricular", DIM, CLASSES + 8, "tiled", parallel="sharded")
    found["classes"] = refused(lambda: more.double().load_logical_state(head.logical_state()))
    state = {"head": other.logical_state()}
    dcp.load(state, checkpoint_id=f"{folder}/dcp")
    other.load_logical_state(state["head"])
    found["restored"] = bool(torch.equal(other.weight, head.weight))
    print(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
