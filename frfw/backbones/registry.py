"""From a backbone's name and options to the network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from frfw.backbones import ir, iresnet, mbf
from frfw.backbones.common import Size
from frfw.backbones.mobilefacenet import MobileFaceNet
from frfw.errors import FrfwError, nearest

_BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "mobilefacenet": MobileFaceNet,
    **{
        name: partial(mbf.WideMobileFaceNet, blocks, scale)
        for name, (blocks, scale) in mbf.VARIANTS.items()
    },
    **{name: partial(iresnet.IResNet, layers) for name, layers in iresnet.LAYERS.items()},
    **{name: partial(ir.IR, layers) for name, layers in ir.LAYERS.items()},
}


def backbone_names() -> list[str]:
    """Return the names of the built-in networks; `timm/<name>` gives timm's besides."""
    return list(_BUILDERS)


def create_backbone(
    name: str, embedding_dim: int = 512, input_size: Size = 112, **options: Any
) -> nn.Module:
    """Create a network from (B, 3, H, W) float RGB in [-1, 1] to (B, embedding_dim) float32.

    Args:
        name: one of `backbone_names()`, or `timm/<any timm model>`.
        embedding_dim: length of the embedding.
        input_size: pixels of the face crop, one number or (height, width).
        options: the network's own, such as `dropout`, `width`, `checkpointing`.

    The network has `.embedding_dim`, `.input_size`, `.stages` (stage name -> module names, from
    input to output) and `.input_convolution` (state-dict key of the first convolution, or None).

    Raises:
        FrfwError: an unknown name or option (the message has the nearest one), or a bad value.
    """
    builder = _builder(name)
    allowed = [p for p in inspect.signature(builder).parameters if p not in ("layers", "model")]
    for option in options:
        if option not in allowed:
            raise FrfwError(
                f"backbone '{name}' has no option '{option}'.{nearest(option, allowed)} "
                f"It has: {', '.join(allowed)}"
            )
    if not isinstance(embedding_dim, int) or embedding_dim < 1:
        raise FrfwError(f"embedding_dim {embedding_dim!r} must be a whole number, at least 1")
    if not 0 <= options.get("dropout", 0) < 1:
        raise FrfwError(f"dropout {options['dropout']} must be at least 0 and below 1")
    if not isinstance(input_size, int):
        input_size = tuple(input_size)
    return builder(embedding_dim=embedding_dim, input_size=input_size, **options)


def _builder(name: str) -> Callable[..., nn.Module]:
    if name in _BUILDERS:
        return _BUILDERS[name]
    if str(name).startswith("timm/"):
        from frfw.backbones.timm import TimmBackbone  # timm takes a second to import

        return partial(TimmBackbone, name.removeprefix("timm/"))
    raise FrfwError(
        f"there is no backbone '{name}'.{nearest(name, _BUILDERS)} "
        f"Known: {', '.join(_BUILDERS)}, timm/<any timm model>"
    )
