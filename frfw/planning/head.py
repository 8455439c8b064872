"""Bytes and matrix-product work of the classifier on one device."""

from __future__ import annotations

from frfw.classifier.tiles import plan_tiles

_BLOCK = 1 << 17  # elements of a block that plain operations work on, see classifier/tiles.py


def head_bytes(
    *,
    classes: int,
    dim: int,
    batch: int,
    sampled: int | None = None,
    sub_centers: int = 1,
    memory_budget: int | None = None,
    fused: bool = False,
    momentum: int = 1,
    cuda: bool = False,
    compiled: bool = False,
) -> dict[str, int]:
    """Bytes of a tiled float32 head on one device at the peak of a step.

    Args:
        classes: classes held by this device.
        dim: width of the embeddings.
        batch: samples computed here (the global batch of a sharded or sampled head).
        sampled: classes that take part in a step; None: all held.
        sub_centers, memory_budget, compiled: as in `create_classifier`.
        fused: the fused update: no gradient of the weight, but of one tile.
        momentum: numbers that the optimizer keeps for a weight: SGD 1 (or 0), AdamW 2.
        cuda: tiles of a GPU instead of those of a CPU.

    Returns:
        `weights`, `gradient`, `optimizer`, `embeddings` (gathered ones and their gradients),
        `tiles` (cosines, copies and, where they fit the budget, the kept buffer), `update` (copies
        of the sampled rows while the optimizer steps, as far as they are more than the tiles, which
        are gone by then).
    """
    rows, taking_part = classes * sub_centers, (sampled or classes) * sub_centers
    plan = plan_tiles(
        batch, taking_part // sub_centers, sub_centers, 4, cuda, memory_budget, compiled, dim
    )
    tile = plan.classes * sub_centers
    kept = batch * taking_part if plan.keep else batch * tile
    block = min(plan.rows * tile, batch * tile if cuda else _BLOCK)
    # Copies of a block made by a formula, a tile's weights times its gradient, sums of each tile.
    copies = 4 * block + tile * dim + 3 * batch * -(-taking_part // tile) + 2 * taking_part
    if fused:
        copies += tile * dim
    if sampled is not None:
        copies += 2 * tile * dim + taking_part
    tiles = 4 * (kept + copies)
    moved = 0 if fused or sampled is None else 4 * (1 + momentum) * taking_part * dim
    return {
        "weights": 4 * rows * dim,
        "gradient": 0 if fused else 4 * taking_part * dim,
        "optimizer": 4 * momentum * rows * dim,
        "embeddings": 4 * 5 * batch * dim,
        "tiles": tiles,
        "update": max(0, moved - tiles),
    }


def head_flops(classes: int, dim: int, batch: int, sub_centers: int, keep: bool) -> float:
    """Floating-point operations of a step's matrix products: three, or four without a buffer."""
    return 2.0 * batch * classes * sub_centers * dim * (3 if keep else 4)
