"""A name for a network's weights: what embeddings kept on disk are found again by."""

from __future__ import annotations

import hashlib

from torch import nn


def weights_fingerprint(network: nn.Module) -> str:
    """Return 16 hex digits that change with any weight or buffer of `network`."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
