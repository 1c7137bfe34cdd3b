"""Calling a kernel from Python: check the arrays once, then call at the price of a built-in function.

Every kernel exports one function of one signature, strides in elements, rows of x and y in memory order:

    void NAME(ptr x, ptr y, ptr params, ptr scratch, i64 batch, i64 x_stride, i64 y_stride)

A row is a sample, and a stride leads from sample to sample; in an array with units first it is a unit, and the stride
leads from unit to unit.

x and y belong to the user and are aligned to their element only; params and scratch are aligned to 64 bytes.
Scratch belongs to one call on one thread and holds nothing between calls. A kernel takes any batch from 0 on;
threads are the runtime's matter: it calls the kernel for runs of samples that are whole tiles.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.jit import Library
from pathc.backends.llvm.native import aligned, is_cpython, runtime
from pathc.backends.llvm.netplan import Order, Orders
from pathc.backends.llvm.threads import Pool, pool
from pathc.support.diagnostics import error

Array = NDArray[np.float32]
BY_ROWS: Orders = ("rows", "rows")
_F32 = np.dtype(np.float32)
_NO_ARGUMENTS, _FAST_CALL = 0x0004, 0x0080
PARALLEL_WORK = 400_000
"""Multiply-adds of a call from which several threads pay."""
_RELEASE_WORK = 100_000
_NEVER = 1 << 62
_SCRATCH_GAP = 128


class _Call(ctypes.Structure):
    """The struct `%call` of call.ll."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("kernel", "x", "y", "params", "scratch")),
        *((name, ctypes.c_int64) for name in ("batch", "x_stride", "y_stride")),
        *(("result", ctypes.c_void_p), ("busy", ctypes.c_int64), ("pool", ctypes.c_void_p)),
        *((name, ctypes.c_int64) for name in ("chunk", "tasks", "scratch_stride", "x_step", "y_step", "release")),
        *((name, ctypes.c_int64) for name in ("inputs", "outputs", "tile", "parallel_from", "threads", "free_from")),
        ("orders", ctypes.c_int64),
    )


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def as_floats(x: NDArray[Any]) -> Array:
    """An input as float32; raises E0701 for what is no array of numbers."""
    if x.dtype == _F32:
        return x
    if x.dtype.kind not in "uifb":
        raise error("E0701", f"the input is {x.dtype}", help="give floats or integers")
    with np.errstate(over="ignore"):
        return x.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A compiled net of `inputs` and `outputs` float32 units per sample.

    `params` are its packed weights, `scratch` the bytes one call needs, `tile` the samples it likes to take at a
    time, `work` its multiply-adds per sample. `threads` are used from a batch on whose work pays for them, and 1
    means never. `orders` says how input and output lie in memory.
    """

    library: Library
    name: str
    inputs: int
    outputs: int
    params: NDArray[Any]
    threads: int
    scratch: int = 0
    tile: int = 1
    work: int = 0
    orders: Orders = BY_ROWS
    _open: Callable[[Array, Array], Array | None] = field(init=False, repr=False)
    _params: NDArray[np.uint8] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        packed = np.ascontiguousarray(self.params).view(np.uint8).reshape(-1)
        if packed.ctypes.data % 64:
            copy = aligned(packed.nbytes)
            copy[:] = packed
            packed = copy
        object.__setattr__(self, "_params", packed)
        object.__setattr__(self, "_open", self._open_form())

    def bind(self, x: Array, y: Array | None = None, *, threads: int | None = None) -> Bound:
        """Check the arrays once and tie the kernel to them; without `y` an output is made.

        Shapes [units] or [batch, units], float32, rows contiguous, or columns where the kernel's order says so. Raises
        E0701 (type), E0702 (shape), E0703 (layout), E0704 (read-only), E0705 (overlap).
        """
        x_order, y_order = self.orders
        batch, x_stride = _checked("input", x, self.inputs, x_order)
        if y is None:
            y = self._output(x)
        y_batch, y_stride = _checked("output", y, self.outputs, y_order)
        if x.shape[:-1] != y.shape[:-1]:
            raise error("E0702", f"the input has shape {list(x.shape)}, the output {list(y.shape)}")
        if not y.flags.writeable:
            raise error("E0704", "the output array is read-only", help="pass a fresh array, or none")
        if batch and _overlap(x, y):
            raise error("E0705", "input and output share memory", help="pass an output of its own, or none")
        wanted = self.threads if threads is None else threads
        call, kept = self._call(wanted)
        call.x, call.y, call.batch = x.ctypes.data, y.ctypes.data, y_batch
        call.x_stride, call.y_stride, call.result = x_stride, y_stride, id(y)
        call.x_step = 4 if x_order == "units" else 4 * x_stride
        call.y_step = 4 if y_order == "units" else 4 * y_stride
        call.release = int(y_batch >= call.free_from or not _gil())
        runtime().function("pathc_divide", None, ctypes.c_void_p)(ctypes.addressof(call))
        return Bound(x, y, _builtin("pathc_bound", call, (x, y, *kept), y))

    def __call__(self, x: Array, y: Array | None = None) -> Array:
        """The outputs of float32 inputs [batch, units] or [units]; copied first unless they lie as the kernel has it.

        Raises as `bind` does, but for an input's layout.
        """
        if y is None and type(x) is np.ndarray and x.ndim == 2:
            y = self._output(x)
        if y is not None:
            done = self._open(x, y)
            if done is not None:
                return done
        return self.bind(_laid(x, self.orders[0]), y).call()

    def _output(self, x: Array) -> Array:
        """An array for the outputs of an input."""
        if self.orders[1] == "rows":
            return np.empty((*x.shape[:-1], self.outputs), np.float32)
        memory = aligned(4 * self.outputs * x.shape[0]).view(np.float32)
        return memory.reshape(self.outputs, x.shape[0]).T

    def _open_form(self) -> Callable[[Array, Array], Array | None]:
        if not _native_calls():
            return _look_closer
        call, kept = self._call(self.threads)
        if not _gil():
            call.free_from = 0
        return cast(Callable[[Array, Array], "Array | None"], _builtin("pathc_call", call, kept, None))

    def _call(self, threads: int) -> tuple[_Call, tuple[object, ...]]:
        """A call with everything but the arrays filled in, and what must live as long as it."""
        workers: Pool | None = pool(threads) if threads > 1 else None
        if workers:
            workers.keep_clear()
        stride = -(-self.scratch // _SCRATCH_GAP) * _SCRATCH_GAP
        scratch = aligned(max(stride * max(threads, 1), 64), _SCRATCH_GAP)
        call = _Call()
        call.kernel = self.library.address(self.name)
        call.params, call.scratch, call.scratch_stride = self._params.ctypes.data, scratch.ctypes.data, stride
        call.pool = workers.address if workers else None
        call.orders = sum(bit for bit, order in zip((1, 2), self.orders, strict=True) if order == "units")
        call.inputs, call.outputs, call.tile, call.threads = self.inputs, self.outputs, self.tile, max(threads, 1)
        work = max(self.work, 1)
        call.parallel_from = max(2 * self.tile, -(-PARALLEL_WORK // work))
        call.free_from = -(-_RELEASE_WORK // work) if self.work else _NEVER
        call.chunk, call.tasks = 0, 1
        return call, (self._params, scratch, self.library, workers)


@dataclass(frozen=True, eq=False)
class Bound:
    """A kernel tied to its arrays. `call()` runs it and returns `y`; calling the object does the same.

    Hold on to `call` where nanoseconds count: it is a built-in function and keeps all it needs alive. One bound
    kernel runs on one thread at a time (RuntimeError otherwise, where the GIL does not see to it).
    """

    x: Array
    y: Array
    call: Callable[[], Array]

    def __call__(self) -> Array:
        """Run the kernel on `x` and return `y`."""
        return self.call()


def order_of(array: NDArray[Any]) -> Order:
    """How a user's array lies in memory: units first if each unit's values are contiguous and each sample's are not."""
    if array.ndim != 2 or min(array.shape) < 2:
        return "rows"
    down, across = array.strides
    return "units" if down == array.itemsize and across >= down * array.shape[0] else "rows"


def _laid(x: Array, order: Order) -> Array:
    """The array itself, or a copy whose rows, or columns with units first, are contiguous and aligned."""
    strides: tuple[int, ...] = getattr(x, "strides", ())
    if order == "units":
        fits = len(strides) != 2 or (strides[0] == 4 and strides[1] >= 0 and strides[1] % 4 == 0 and x.flags.aligned)
        return x if fits else x.copy(order="F")
    fits = not strides or (strides[-1] == 4 and strides[0] >= 0 and strides[0] % 4 == 0 and x.flags.aligned)
    return x if fits else x.copy(order="C")


def _checked(role: str, array: object, units: int, order: Order) -> tuple[int, int]:
    """Samples of the array and elements from row to row, or from column to column with units first."""
    kind: object = getattr(array, "dtype", type(array).__name__)
    if not isinstance(array, np.ndarray) or kind != _F32:
        raise error("E0701", f"the {role} is {kind}, not float32", help="convert with `.astype(np.float32)`")
    plain = cast(Array, array)
    if plain.ndim not in (1, 2) or plain.shape[-1] != units:
        raise error("E0702", f"the {role} has shape {list(plain.shape)}, not [{units}] or [batch, {units}]")
    batch = plain.shape[0] if plain.ndim == 2 else 1
    if not batch:
        return 0, units
    strides = plain.strides if plain.ndim == 2 else (units * 4, *plain.strides)
    down, across = strides if order == "rows" else reversed(strides)
    lines, length = (batch, units) if order == "rows" else (units, batch)
    line = down if lines > 1 else length * 4
    least = length * 4 if role == "output" else 0
    if (length > 1 and across != 4) or line % 4 or line < least or plain.ctypes.data % 4:
        kinds = "rows" if order == "rows" else "columns"
        copy = "np.ascontiguousarray" if order == "rows" else "np.asfortranarray"
        raise error(
            "E0703",
            f"the {kinds} of the {role} are not contiguous and aligned: strides are {list(plain.strides)} bytes",
            help=f"pass `{copy}(...)`",
        )
    return batch, line // 4


def _overlap(x: Array, y: Array) -> bool:
    return np.may_share_memory(x, y) and np.shares_memory(x, y)


def _builtin(entry: str, call: _Call, kept: tuple[object, ...], result: Array | None) -> Callable[..., Array]:
    """A function for Python that runs `entry` of the native runtime on this call."""
    if not _native_calls():
        run = runtime().function("pathc_run", None, ctypes.c_void_p)
        address, held = ctypes.addressof(call), (call, kept, cast(Array, result))

        def through_ctypes() -> Array:
            run(address)
            return held[2]

        return through_ctypes
    api = ctypes.pythonapi
    capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
        ("PyCapsule_New", api)
    )(ctypes.addressof(call), None, None)
    make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
        ("PyCFunction_NewEx", api)
    )
    return cast(Callable[..., Array], make(ctypes.addressof(_method(entry)), (capsule, call, kept), None))


@cache
def _method(entry: str) -> _MethodDef:
    """The method table entry of a native function; it must outlive every function made from it."""
    flags = _FAST_CALL if entry == "pathc_call" else _NO_ARGUMENTS
    return _MethodDef(entry.encode(), runtime().address(entry), flags, b"Run a compiled kernel.")


def _native_calls() -> bool:
    """Whether calls go through built-in functions; PATHC_CALL=ctypes says no, and so does any other Python."""
    return is_cpython() and os.environ.get("PATHC_CALL", "") != "ctypes"


def _gil() -> bool:
    enabled: Callable[[], bool] | None = getattr(sys, "_is_gil_enabled", None)
    return enabled() if enabled else True


def _look_closer(x: Array, y: Array) -> Array | None:
    """Stands for the open form where built-in functions cannot be made."""
    return None
