"""Not a test: tensors that say they are on a GPU and compute on the CPU.

With them the code for a GPU runs where there is none, as far as Python sees it: a tensor left on
the CPU among those on the "GPU" is an error as it is on a real one, and every wait for the device
is counted. What this cannot show: kernels, streams, speed, NCCL.
"""

from __future__ import annotations

import types
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda", 0)
_CPU = torch.device("cpu")
aten = torch.ops.aten
# Operations whose results the CPU must see before Python goes on.
_WAITS = {
    aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim,
    aten.unique_consecutive, aten.equal, aten.is_nonzero, aten.bincount,
}  # fmt: skip
# Those that take tensors of the CPU as well.
_MIXED = {aten.copy_, aten._to_copy}


class OnGpu(Tensor):
    """A tensor on the GPU of our imagination. For torch's engine it is on `meta`."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnGpu:
        made = Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, layout=held.layout, device="meta",
        )  # fmt: skip
        made.held = held.detach()
        return made

    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = is_meta = property(lambda self: False)

    def __repr__(self) -> str:
        return f"OnGpu({self.held})"

    def __reduce_ex__(self, protocol: int) -> Any:
        return self.held.__reduce_ex__(protocol)  # a file that can be read without a GPU

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        packet = func._overloadpacket
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        # A number may lie on the CPU, but not among the pointers of a fused optimizer.
        fused = func._opname.startswith("_fused")
        strangers = [t for t in tensors if not isinstance(t, OnGpu) and (t.ndim or fused)]
        if strangers and packet not in _MIXED:
            shapes = [tuple(t.shape) for t in strangers]
            raise RuntimeError(
                f"{func}: tensors on cuda:0, and {shapes} on the cpu: not one device"
            )
        by_mask = packet in (aten.index, aten.index_put_) and any(
            isinstance(t, Tensor) and t.dtype == torch.bool for t in args[1]
        )
        if (packet in _WAITS or by_mask) and MakeBelieveGpu.entered is not None:
            MakeBelieveGpu.entered.waits.append(str(packet))
        plain, named = (
            tree_map(lambda v: v.held if isinstance(v, OnGpu) else v, v) for v in (args, kwargs)
        )
        if named.get("device") is not None:
            named["device"] = _CPU
        found = _product(func, *plain, **named) if packet is aten.mm else func(*plain, **named)
        found = tree_map(lambda v: OnGpu(v) if isinstance(v, Tensor) else v, found)
        return return_and_correct_aliasing(func, args, kwargs, found)


def _product(func: Any, a: Tensor, b: Tensor, *dtype: torch.dtype, **named: Any) -> Tensor:
    """A matrix product as a GPU does it: halves with float32 results, tf32 where it is on."""
    if a.dtype in (torch.float16, torch.bfloat16) and func._overloadname.startswith("dtype"):
        a, b = a.float(), b.float()
    elif a.dtype == torch.float32 and torch.backends.cuda.matmul.fp32_precision == "tf32":
        a, b = _tf32(a), _tf32(b)
    return torch.mm(a, b, **named)


def _tf32(value: Tensor) -> Tensor:
    """The nearest numbers with 10 bits of mantissa."""
    fraction, exponent = torch.frexp(value.double())
    return torch.ldexp((fraction * 2**11).round(), exponent - 11).float()


class _Factories(TorchDispatchMode):
    """Tensors that torch itself makes on the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        device = kwargs.get("device")
        ours = any(isinstance(t, OnGpu) for t in tree_leaves((args, kwargs)))
        if device is None or device.type not in ("cuda", "meta") or ours:
            return func(*args, **kwargs)
        return OnGpu(func(*args, **{**kwargs, "device": _CPU}))


class _Generator(torch.Generator):
    """The CPU's, whatever the device."""

    def __new__(cls, device: Any = None) -> _Generator:
        return super().__new__(cls)


class MakeBelieveGpu(TorchFunctionMode):
    """Inside it, torch believes in one GPU.

    Attributes:
        waits: what Python waited for the device for, in order.
    """

    entered: MakeBelieveGpu | None = None

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __enter__(self) -> MakeBelieveGpu:
        facts = types.SimpleNamespace(
            name="make-believe GPU", total_memory=8 << 30, major=9, minor=0
        )
        idle = types.SimpleNamespace(is_capturing=lambda: False)
        self._patches = [
            mock.patch.multiple(
                torch.cuda,
                is_available=lambda: True,
                device_count=lambda: 1,
                current_device=lambda: 0,
                set_device=lambda device: None,
                synchronize=lambda device=None: None,
                manual_seed=lambda seed: None,
                manual_seed_all=lambda seed: None,
                mem_get_info=lambda device=None: (8 << 30, 8 << 30),
                get_device_properties=lambda device=None: facts,
                is_bf16_supported=lambda *_, **__: True,
                is_current_stream_capturing=lambda: False,
            ),
            mock.patch.object(torch.accelerator, "current_stream", return_value=idle),
            mock.patch.object(torch, "Generator", _Generator),
            mock.patch.object(Tensor, "pin_memory", lambda tensor, device=None: tensor),
        ]
        for patch in self._patches:
            patch.start()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        MakeBelieveGpu.entered = self
        self._factories = _Factories()
        self._factories.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._factories.__exit__(*error)
        MakeBelieveGpu.entered = None
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        for patch in self._patches:
            patch.stop()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if args and isinstance(args[0], OnGpu):
            if func is Tensor.tolist:
                self.waits.append("tolist")
                return args[0].held.tolist()
            if func is Tensor.numpy:
                raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if func in (Tensor.to, Tensor.cpu, Tensor.cuda):
            return self._move(func, *args, **kwargs)
        if kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cuda":
            made = func(*args, **{**kwargs, "device": _CPU})
            return made if isinstance(made, OnGpu) else OnGpu(made)
        return func(*args, **kwargs)

    def _move(self, func: Any, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Tensor.to, .cpu and .cuda; a copy to the CPU is a wait."""
        kwargs.pop("non_blocking", None)
        rest = [value for value in args if not isinstance(value, bool)]
        device = {Tensor.cpu: _CPU, Tensor.cuda: GPU}.get(func, kwargs.pop("device", None))
        if rest and (rest[0] is None or isinstance(rest[0], str | torch.device)):
            device = rest.pop(0) or device
        inside = isinstance(tensor, OnGpu)
        if inside and device is not None and torch.device(device).type == "meta":
            device = None  # torch's own C++ took it for that
        if device is not None and torch.device(device).type == "cuda" and not inside:
            tensor = OnGpu(tensor.detach().clone())
        elif device is not None and torch.device(device).type != "cuda" and inside:
            self.waits.append("copy to the CPU")
            tensor = tensor.held.clone()
        return Tensor.to(tensor, *rest, **kwargs) if rest or kwargs else tensor


def place(module: nn.Module) -> nn.Module:
    """Put a module's parameters and buffers there, in place."""
    for part in module.modules():
        for name, value in list(part.named_parameters(recurse=False)):
            moved = nn.Parameter(OnGpu(value.detach().clone()), value.requires_grad)
            part._parameters[name] = moved
        for name, value in list(part.named_buffers(recurse=False)):
            part._buffers[name] = OnGpu(value.clone())
    return module


def held(value: Any) -> Any:
    """The numbers of a tensor, wherever it is."""
    return value.held if isinstance(value, OnGpu) else value
