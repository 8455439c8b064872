"""One of two gloo processes: every loss on its half of a batch; rank 0 writes what came out."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist

import frfw
from frfw.losses import create_embedding_loss, create_weighting, formula_names

DIM, CLASSES, BATCH = 6, 5, 7  # an odd batch: the two halves differ in size
WEIGHTINGS = {"mean": {}, "focal": {}, "ohem": {"keep": 0.5}}
WEIGHTED = ("arcface", "curricular", "adaface", "magface")
EMBEDDING = [
    ("triplet", {"mining": "all"}),
    ("triplet", {"mining": "batch_hard", "margin": "soft"}),
    ("triplet", {"mining": "batch_hard", "distance": "squared"}),
    ("triplet", {"mining": "semihard", "margin": 0.5, "nonzero": True}),
    ("triplet", {"mining": "hard", "distance": "cosine"}),
    ("contrastive", {}),
    ("contrastive", {"distance": "cosine"}),
    ("center", {}),
]
PLUS = [("elastic_arc", {"plus": True}), ("curricular", {"statistic": "p"})]


def batch(step):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(BATCH, DIM, generator=generator, dtype=torch.float64)
    return x * 8, torch.randint(0, CLASSES, (BATCH,), generator=generator)


def compute(rows, world):
    """Run two steps of everything on these rows of the batch; return name -> list of tensors."""
    results = {}
    for name, params in [(n, {}) for n in formula_names()] + PLUS:
        head = frfw.create_classifier(name, DIM, CLASSES, **params).double()
        key = name + "".join(params)
        results[key] = run(lambda x, y, h=head: h(x, y).loss, head, rows, world)
    for name, params in WEIGHTINGS.items():
        for loss in WEIGHTED:
            weighting = create_weighting(name, **params)
            head = frfw.create_classifier(loss, DIM, CLASSES, weighting=weighting).double()
            key = f"{loss} {name}"
            results[key] = run(lambda x, y, h=head: h(x, y).loss, head, rows, world)
    for name, params in EMBEDDING:
        module = create_embedding_loss(name, DIM, CLASSES, **params).double()
        results[f"{name} {params}"] = run(module, module, rows, world)
    return results


def run(loss_of, module, rows, world):
    """Two steps; the mean over ranks of losses, and the gradients of the whole batch by x and W."""
    parameters = list(module.parameters())
    found = []
    for step in range(2):
        x, y = batch(step)
        leaf = x.clone().requires_grad_()
        loss = loss_of(leaf[rows], y[rows])
        gradients = torch.autograd.grad(loss, [leaf, *parameters])
        found += [mean(value, world) for value in (loss.detach(), *gradients)]
    return found + [b.clone() for b in module.buffers()]


def mean(value, world):
    if world > 1:
        dist.all_reduce(value)
    return value / world


if __name__ == "__main__":
    rank, rendezvous, output = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    mine = slice(0, 4) if rank == 0 else slice(4, BATCH)
    torch.save(compute(mine, 2), f"{output}.{rank}")
    dist.destroy_process_group()
