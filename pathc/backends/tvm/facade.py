"""What pathc needs of tvm to compile, with types; imported only when something is compiled.

Tried with apache-tvm 0.27; the names it takes for granted are all here.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NewType, cast

import numpy as np
from numpy.typing import NDArray

from pathc.backends.tvm.linker import c_compiler
from pathc.support.diagnostics import Diagnostic, InternalError

_ALIGNMENT = 64
_LAUNCH = re.compile(r'T\.launch_thread\("(\w+\.\w)", (\w+)\)')
_SHARED = re.compile(r'T\.alloc_buffer\(\((\d+),\)(?:, "([a-z]+\d+)(?:x(\d+))?")?, scope="shared\.dyn"\)')
INSTALL = "pip install 'apache-tvm>=0.27'"
Module = NewType("Module", object)
"""An IRModule of TIR functions."""
Loop = NewType("Loop", object)
Block = NewType("Block", object)
Tensor = NewType("Tensor", object)
Kernel = Callable[..., object]


@cache
def missing() -> str:
    """How to install what is not there; empty if TVM can be imported. Nothing is imported to find out."""
    return "" if find_spec("tvm") and find_spec("tvm_ffi") else INSTALL


@cache
def _tvm() -> Any:
    return import_module("tvm")


def parse(text: str) -> Module:
    """The module that a text of TVMScript spells; InternalError E0698 for one that TVM does not take.

    TVM looks up the source of every caller for every function it reads. A thread of its own has few.
    """
    try:
        with ThreadPoolExecutor(1) as alone:
            return Module(alone.submit(_tvm().script.from_source, text).result())
    except Exception as reason:
        raise refused("TIR", reason) from reason


def show(module: Module) -> str:
    """A module as TVMScript."""
    return cast(Any, module).script()


def refused(what: str, reason: Exception) -> InternalError:
    """The fault of writing what TVM does not take, E0698."""
    lines = [line for line in str(reason).strip().splitlines() if line.strip()]
    text = f"TVM refused the {what}: {lines[-1].strip() if lines else type(reason).__name__}"
    return InternalError(Diagnostic("E0698", text, help="please report this with the model"))


class Schedule:
    """A schedule being written; every step is recorded in its trace."""

    def __init__(self, module: Module) -> None:
        self._schedule: Any = import_module("tvm.s_tir").Schedule(module)

    def work_on(self, function: str) -> None:
        """Name the function that the following steps are about."""
        self._schedule.work_on(function)

    def block(self, name: str) -> Block:
        """The block of that name."""
        return self._schedule.get_sblock(name)

    def loops(self, block: Block) -> list[Loop]:
        """The loops around a block, outermost first."""
        return list(self._schedule.get_loops(block))

    def extent(self, loop: Loop) -> int:
        """Iterations of a loop whose number is known."""
        return int(self._schedule.get(loop).extent)

    def split(self, loop: Loop, factors: Sequence[int | None]) -> list[Loop]:
        """Loops in place of one; `None` is as many as are needed."""
        return list(self._schedule.split(loop, list(factors)))

    def fuse(self, *loops: Loop) -> Loop:
        """One loop in place of several that stand directly inside each other."""
        return loops[0] if len(loops) == 1 else self._schedule.fuse(*loops)

    def reorder(self, *loops: Loop) -> None:
        """Nest the loops in this order."""
        self._schedule.reorder(*loops)

    def bind(self, loop: Loop, axis: str) -> None:
        """Let every iteration be a thread or block of the GPU."""
        self._schedule.bind(loop, axis)

    def vectorize(self, loop: Loop) -> None:
        """Compute the iterations as one vector."""
        self._schedule.vectorize(loop)

    def unroll(self, loop: Loop) -> None:
        """Write out the iterations."""
        self._schedule.unroll(loop)

    def inline(self, block: Block) -> None:
        """Compute a block where it is read."""
        self._schedule.compute_inline(block)

    def compute_at(self, block: Block, loop: Loop) -> None:
        """Compute what the iterations of `loop` read inside of it; loops of one iteration stay."""
        self._schedule.compute_at(block, loop, preserve_unit_loops=True)

    def store_at(self, block: Block, loop: Loop) -> None:
        """Use what the iterations of `loop` compute inside of it."""
        self._schedule.reverse_compute_at(block, loop)

    def scope(self, block: Block, where: str) -> None:
        """Keep what a block writes in `local` (registers) or `shared.dyn` memory."""
        self._schedule.set_scope(block, 0, where)

    def pad(self, block: Block, axis: int, factor: int, offset: int) -> None:
        """Make the stride of an axis `offset` modulo `factor`, against bank conflicts."""
        self._schedule.storage_align(block, 0, axis, factor, offset)

    def split_start(self, block: Block, loop: Loop) -> None:
        """Start sums in front of the loop that adds to them."""
        self._schedule.decompose_reduction(block, loop)

    @property
    def module(self) -> Module:
        """The scheduled module."""
        return Module(self._schedule.mod)

    @property
    def trace(self) -> str:
        """The steps so far as a Python function."""
        return f"{self._schedule.trace}\n"


def compile_cpu(module: Module, names: Sequence[str], cpu: str = "") -> dict[str, Kernel]:
    """Functions for this processor that take tensors, by name; InternalError E0698 if TVM fails."""
    tvm = _tvm()
    try:
        target = tvm.target.Target({"kind": "llvm", "mcpu": cpu or host_cpu()})
        library = tvm.compile(module, target=target)
        return {name: cast(Kernel, library[name]) for name in names}
    except Exception as reason:
        raise refused("kernels", reason) from reason


def cpu_library(module: Module, cpu: str = "", text: str = "") -> bytes:
    """A shared library with the functions of a module, and those of a text in C, for apache-tvm-ffi.

    UnavailableError E0670 without a C compiler to link it, InternalError E0698 if TVM fails.
    """
    c_compiler()
    tvm = _tvm()
    try:
        library = tvm.compile(module, target=tvm.target.Target({"kind": "llvm", "mcpu": cpu or host_cpu()}))
        with tempfile.TemporaryDirectory() as folder:
            path, source = Path(folder, "net.so"), Path(folder, "net.c")
            source.write_text(text)
            library.export_library(str(path), addons=[str(source)])
            return path.read_bytes()
    except Exception as reason:
        raise refused("kernels", reason) from reason


@dataclass(frozen=True)
class DeviceKernel:
    """A kernel of CUDA text and how to launch it.

    `parameters` are its arguments in order, pointers (`h0_ptr`) and integers (`batch`, `tiles`); `extents` those of
    `blockIdx.x` to `threadIdx.z`, a number or `tiles`; `shared` the bytes of dynamic shared memory.
    """

    name: str
    parameters: tuple[str, ...]
    extents: tuple[tuple[str, str], ...]
    shared: int


def compile_cuda(module: Module, arch: str) -> tuple[str, tuple[DeviceKernel, ...]]:
    """CUDA text of all kernels of a scheduled module; neither a GPU nor its driver is needed.

    InternalError E0698 if TVM fails.
    """
    tvm = _tvm()
    try:
        build = import_module("tvm.tirx.build")
        target = tvm.target.Target({"kind": "cuda", "arch": arch}, host="llvm")
        pipeline, _, finish = tvm.tirx.get_default_tir_pipeline(target)
        _, devices = build.split_host_device_mods(pipeline(tvm.tirx.transform.BindTarget(target)(module)))
        ((on, device),) = devices.items()
        device = finish()(device)
        with _text_only(tvm):
            text = str(build.codegen_build(device, on).inspect_source())
        return text, tuple(_device_kernel(name.name_hint, function) for name, function in device.functions.items())
    except Exception as reason:
        raise refused("scheduled kernels", reason) from reason


def _device_kernel(name: str, function: Any) -> DeviceKernel:
    text = str(function.script())
    extents = tuple(sorted(set(_LAUNCH.findall(text))))
    shared = 0
    for size, dtype, lanes in _SHARED.findall(text):
        width = {"": 4, "float32": 4, "int32": 4, "uint8": 1, "float16": 2, "bfloat16": 2}[dtype]
        shared += int(size) * width * int(lanes or 1)
    return DeviceKernel(name, tuple(str(p.name) for p in function.params), extents, shared)


@contextlib.contextmanager
def _text_only(tvm: Any) -> Generator[None]:
    """Keep TVM from compiling CUDA text itself where it finds a driver: pathc compiles it, without fast-math."""
    hook = "tvm_callback_cuda_compile"
    existing = tvm.get_global_func(hook, allow_missing=True)
    if existing is None:
        yield
        return

    def keep(code: str, *_: object) -> str:
        return code

    tvm.register_global_func(hook, keep, override=True)
    try:
        yield
    finally:
        tvm.register_global_func(hook, existing, override=True)


@cache
def host_cpu() -> str:
    """The processor as LLVM calls it."""
    codegen = import_module("tvm.target.codegen")
    return str(codegen.llvm_get_system_cpu())


def ffi_includes() -> list[str]:
    """Folders with the C headers of apache-tvm-ffi."""
    return [str(path) for path in import_module("tvm_ffi.libinfo").include_paths()]


def tensor(array: NDArray[np.generic]) -> Tensor:
    """A view of a contiguous array for kernels; the memory is that of the array."""
    return import_module("tvm_ffi").from_dlpack(array)


def aligned(shape: Sequence[int], dtype: str = "float32") -> NDArray[Any]:
    """An array as kernels expect those that are not their user's: at a multiple of 64 bytes."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    raw = np.empty(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(tuple(shape))


def aligned_copy(array: NDArray[Any]) -> NDArray[Any]:
    """The same values at a multiple of 64 bytes."""
    copy = aligned(array.shape, str(array.dtype))
    copy[...] = array
    return copy


def version() -> str:
    """TVM's version."""
    return str(_tvm().__version__)
