"""Matrix products in the precision asked for, with float32 (or float64) results."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Products:
    """How the tiled engine multiplies matrices.

    float64 weights are multiplied in float64 whatever the name says. On a GPU, tf32, bf16 and
    fp16 run on its matrix units and accumulate in float32. On the CPU the operands are rounded to
    that format and multiplied in float32: the same rounding of the inputs, no gain in speed, so
    that what a precision does to a training can be tried anywhere.

    Attributes:
        rounds: operands lose digits, so a tile of weights is normalised before it is rounded.
    """

    def __init__(self, precision: str, dtype: torch.dtype, device: torch.device) -> None:
        self.precision = "fp32" if dtype == torch.float64 else precision
        self.native = device.type == "cuda"
        self.rounds = self.precision != "fp32"

    def operand(self, value: Tensor) -> Tensor:
        """Round a matrix to the format of the products, once for all the products it is in."""
        if self.precision == "fp32" or (self.precision == "tf32" and self.native):
            return value
        if self.precision == "tf32":
            return _round_mantissa(value, 13)
        if not self.native:
            return value.to(_HALF[self.precision]).float()
        # Rows of whole 16 bytes, without which the matrix units are not used fully.
        columns = value.shape[1]
        room = columns + -columns % 8
        half = value.new_empty(len(value), room, dtype=_HALF[self.precision])[:, :columns]
        return half.copy_(value)

    def mm(self, a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
        """a (n, k) times b (k, m), both made by `operand`, in float32 (float64 for those)."""
        if a.dtype in (torch.bfloat16, torch.float16):
            return torch.mm(a, b, out_dtype=torch.float32, out=out)
        with _tf32() if self.precision == "tf32" and self.native else contextlib.nullcontext():
            return torch.mm(a, b) if out is None else torch.mm(a, b, out=out)


def _round_mantissa(value: Tensor, dropped: int) -> Tensor:
    """Round float32 to the nearest number with `dropped` fewer mantissa bits (ties to even)."""
    bits = value.contiguous().view(torch.int32)
    odd = (bits >> dropped) & 1
    return ((bits + odd + (1 << (dropped - 1)) - 1) & -(1 << dropped)).view(torch.float32)


@contextlib.contextmanager
def _tf32():
    # The newer of PyTorch's two settings, where it is: the older one refuses to be read beside it.
    settings = torch.backends.cuda.matmul
    newer = hasattr(settings, "fp32_precision")
    name, wanted = ("fp32_precision", "tf32") if newer else ("allow_tf32", True)
    before = getattr(settings, name)
    if before == wanted:  # perhaps inherited: to set it would end that
        yield
        return
    setattr(settings, name, wanted)
    try:
        yield
    finally:
        setattr(settings, name, before)
