"""Read pickles that hold only lists, tuples, bytes, text, bools, numbers and arrays of those.

This is an interpreter of the few pickle opcodes that such data needs, not `pickle.Unpickler` with
a filter: no name is ever imported, nothing is called, and an opcode or a name outside the lists
below is refused. NumPy arrays are rebuilt from their raw bytes by `numpy.frombuffer`. What is read
takes no more room than a few times the file: values that occur again are the same object.
"""

from __future__ import annotations

import io
import math
import pickletools
from typing import Any

import numpy as np

from frfw.errors import FrfwError

_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_ALLOWED = {
    **{(module, "_reconstruct"): "array" for module in _NUMPY},
    **{(module, "scalar"): "scalar" for module in _NUMPY},
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "bytes",
    ("builtins", "bytes"): "bytes",
    ("builtins", "bytearray"): "bytes",
}
_DTYPES = {"b1", "u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"}
_TEXT = {"BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "BINUNICODE8"}
_BYTES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
_OLD_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
_PUT = {"PUT", "BINPUT", "LONG_BINPUT"}
_GET = {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Mark:
    """Where a list or tuple under construction begins on the stack."""


class _Name:
    """An allowed global, by role; never the object it names."""

    def __init__(self, role: str) -> None:
        self.role = role


class _DType:
    """A NumPy dtype as its code, e.g. "u1"."""

    def __init__(self, code: str) -> None:
        if code not in _DTYPES and code not in ("O8", "O"):
            raise FrfwError(f"it holds an array of type {code[:40]!r}")
        self.code, self.order = code, "<"


class _Array:
    """An array whose state has not come yet, then the array as a value."""

    def __init__(self) -> None:
        self.value: Any = None


def load(data: bytes, where: str) -> Any:
    """Return the value pickled in `data`, byte strings of Python 2 as bytes.

    Raises:
        FrfwError: `where` is no pickle, is cut off, or holds anything but plain data.
    """
    machine = _Machine(data)
    try:
        return machine.run()
    except FrfwError as error:
        raise FrfwError(f"{where}: refused, {error}; nothing in it was executed") from error
    except (ValueError, IndexError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise FrfwError(f"{where} is not a readable pickle: {error or 'damaged'}") from error


class _Machine:
    """The stack and memo of one pickle."""

    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)
        self.room = len(data)  # for bytes that are made from text: each comes from its own
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for opcode, arg, _ in pickletools.genops(self.file):
            if opcode.name == "STOP":
                return _plain(self.stack.pop())
            self.step(opcode.name, arg)
        raise ValueError("it has no end")

    def step(self, name: str, arg: Any) -> None:
        push = self.stack.append
        if name in _CONSTANTS:
            push(_CONSTANTS[name])
        elif name in _BYTES:
            push(bytes(arg))
        elif name in _OLD_STRINGS:
            push(arg.encode("latin-1"))
        elif name in _NUMBERS or name in _TEXT:
            push(arg)
        elif name in _PUT:
            self.memo[arg] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in _GET:
            push(self.memo[arg])
        elif name in _TUPLES:
            push(self.take(_TUPLES[name]))
        elif name not in ("PROTO", "FRAME"):
            self.build(name, arg)

    def build(self, name: str, arg: Any) -> None:
        push = self.stack.append
        if name == "MARK":
            push(_Mark())
        elif name == "EMPTY_LIST":
            push([])
        elif name in ("LIST", "TUPLE"):
            items = self.from_mark()
            push(items if name == "LIST" else tuple(items))
        elif name == "APPEND":
            item = self.stack.pop()
            self.top_list().append(item)
        elif name == "APPENDS":
            items = self.from_mark()
            self.top_list().extend(items)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            push(_global(*(arg.split(" ", 1) if name == "GLOBAL" else self.take(2))))
        elif name == "REDUCE":
            function, args = self.take(2)
            made = _reduce(function, args)
            self.room -= len(made) if isinstance(made, bytes) else 0
            if self.room < 0:
                raise FrfwError("it makes more bytes than it holds")
            push(made)
        elif name == "BUILD":
            target, state = self.take(2)
            push(_build(target, state))
        else:
            raise FrfwError(f"it uses the pickle instruction {name}")

    def take(self, count: int) -> tuple[Any, ...]:
        if count > len(self.stack):
            raise ValueError("its stack runs empty")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return tuple(items)

    def from_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while not isinstance(self.stack[at], _Mark):
            at -= 1
            if at < 0:
                raise ValueError("a mark is missing")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def top_list(self) -> list[Any]:
        if not isinstance(self.stack[-1], list):
            raise ValueError("it appends to something that is no list")
        return self.stack[-1]


def _global(module: Any, attribute: Any) -> _Name:
    # Anything but text may be tuples in tuples, which to compare or to print takes for ever.
    if not isinstance(module, str) or not isinstance(attribute, str):
        raise ValueError("a name is damaged")
    if (module, attribute) not in _ALLOWED:
        raise FrfwError(f"it asks for {module[:80]}.{attribute[:80]}")
    return _Name(_ALLOWED[module, attribute])


def _reduce(function: Any, args: Any) -> Any:
    """Stand in for calling `function(*args)`: bytes, dtypes, empty arrays and array scalars."""
    role = function.role if isinstance(function, _Name) else None
    if role == "bytes" and (not args or isinstance(args[0], bytes)):
        return bytes(args[0]) if args else b""
    if role == "encode" and isinstance(args[0], str) and args[1:] in (("latin1",), ("latin-1",)):
        return args[0].encode("latin-1")
    if role == "dtype":
        return _DType(_text(args[0]))
    if role == "array":
        return _Array()
    if role == "frombuffer":
        content, dtype, shape, order = args
        return _from_bytes(dtype, content, shape, order == "F")
    if role == "scalar" and isinstance(args[0], _DType):
        return _from_bytes(args[0], args[1], ()).item()
    raise FrfwError("it calls something that plain data does not need")


def _build(target: Any, state: Any) -> Any:
    """Stand in for `__setstate__` of a dtype (byte order) or of an array (its content)."""
    if isinstance(target, _DType):
        target.order = _text(state[1])
        return target
    if not isinstance(target, _Array):
        raise FrfwError("it sets the state of something that is no array")
    _, shape, dtype, fortran, content = state
    if isinstance(dtype, _DType) and dtype.code.startswith("O"):
        if (
            not isinstance(content, list)
            or not isinstance(shape, tuple)
            or len(shape) != 1
            or len(content) != shape[0]
        ):
            raise ValueError("an array of objects is damaged")
        target.value = content
    else:
        target.value = _from_bytes(dtype, content, shape, bool(fortran))
    return target


def _from_bytes(dtype: Any, content: Any, shape: tuple[int, ...], fortran: bool = False) -> Any:
    if not isinstance(dtype, _DType) or not isinstance(content, bytes):
        raise ValueError("an array is damaged")
    if not (isinstance(shape, tuple) and all(isinstance(n, int) and n >= 0 for n in shape)):
        raise ValueError("an array's shape is damaged")
    if 0 in shape[1:] and shape[0]:  # of no bytes, any number of rows
        raise ValueError("an array's rows are empty")
    real = np.dtype((">" if dtype.order == ">" else "<") + dtype.code)
    if math.prod(shape) * real.itemsize != len(content):
        raise ValueError("an array's bytes do not fill its shape")
    return np.frombuffer(content, real).reshape(shape, order="F" if fortran else "C")


def _text(value: Any) -> str:
    if not isinstance(value, str | bytes):
        raise ValueError("a type is damaged")
    return value.decode("ascii") if isinstance(value, bytes) else value


def _plain(value: Any, depth: int = 0, done: dict[int, Any] | None = None) -> Any:
    """Replace finished arrays by their values; refuse what is left of unfinished parts.

    A list that occurs again and again, inside others that do, is gone through once (`done`):
    written out, a few kilobytes could stand for millions of millions of items.
    """
    if depth > 8:
        raise FrfwError("it is nested too deeply")
    done = {} if done is None else done
    if isinstance(value, list | tuple):
        if id(value) not in done:
            done[id(value)] = type(value)(_plain(item, depth + 1, done) for item in value)
        return done[id(value)]
    if isinstance(value, _Array):
        return _plain(value.value, depth + 1, done)
    if isinstance(value, _Mark | _Name | _DType):
        raise FrfwError("it holds something that is no plain data")
    return value
