"""Do the ranks agree? Before the first step on code, config and data; during it on weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from frfw.errors import FrfwError
from frfw.training.distributed import Ranks, from_all


def self_test(ranks: Ranks) -> None:
    """Sum over all ranks, before anything depends on such sums.

    Raises:
        FrfwError: the sum is wrong: a broken transport.
    """
    if ranks.world == 1:
        return
    total = torch.full((1,), float(ranks.rank), device=ranks.device)
    dist.all_reduce(total)
    expected = ranks.world * (ranks.world - 1) / 2
    if total.item() != expected:
        raise FrfwError(
            f"a sum over the ranks gave {total.item():g} instead of {expected:g}: "
            "the transport between the processes is broken"
        )


def same_everywhere(ranks: Ranks, config: dict[str, Any], data_fingerprint: str) -> None:
    """Every rank must run the same code with the same config on the same data.

    Raises:
        FrfwError: names what differs and on which ranks.
    """
    mine = {
        "code": code_fingerprint(),
        "config": _digest(json.dumps(config, sort_keys=True, default=str).encode()),
        "data": data_fingerprint,
        "torch": torch.__version__,
    }
    everyone = from_all(ranks, mine)
    for what in mine:
        other = [r for r, theirs in enumerate(everyone) if theirs[what] != everyone[0][what]]
        if other:
            raise FrfwError(
                f"rank(s) {', '.join(map(str, other))} have another {what} than rank 0 "
                f"({everyone[other[0]][what]} against {everyone[0][what]}); "
                "install the same version and copy the same files to every machine"
            )


def code_fingerprint() -> str:
    """Return 16 hex digits that change with any Python file of the package."""
    digest = hashlib.blake2b(digest_size=8)
    package = Path(__file__).resolve().parent.parent
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def weights_hash(modules: list[nn.Module]) -> str:
    """Return 16 hex digits of all parameters and buffers of the modules, to the last bit."""
    digest = hashlib.blake2b(digest_size=8)
    for module in modules:
        for name, value in module.state_dict().items():
            digest.update(name.encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def same_weights(ranks: Ranks, modules: list[nn.Module], step: int) -> None:
    """Compare the replicated modules of all ranks by hash.

    Raises:
        FrfwError: the ranks have drifted apart; names which.
    """
    if ranks.world == 1:
        return
    hashes = from_all(ranks, weights_hash(modules))
    other = [r for r, h in enumerate(hashes) if h != hashes[0]]
    if other:
        raise FrfwError(
            f"at step {step} rank(s) {', '.join(map(str, other))} have other weights than rank 0: "
            "the ranks have drifted apart (different software or a faulty device?); "
            "go back with resume=auto"
        )


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
