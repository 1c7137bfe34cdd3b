"""The native runtime: `pool.ll` and `call.ll` with the few lines that depend on the system, loaded once."""

from __future__ import annotations

import ctypes
import mmap
import platform
import sys
from contextlib import suppress
from functools import cache
from importlib.resources import files
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.jit import Library, compile_ir
from pathc.backends.llvm.machine import host

_HUGE = 1 << 21
_MANY = 1 << 20
"""Bytes of a huge page, and how many bytes are worth one."""
_PYTHON = (
    *("PyTuple_GetItem", "PyCapsule_GetPointer", "Py_IncRef", "PyEval_SaveThread", "PyEval_RestoreThread"),
    *("PyErr_SetString", "PyErr_Clear", "PyObject_GetBuffer", "PyBuffer_Release"),
)
_OBJECTS = ("PyExc_RuntimeError", "_Py_NoneStruct")
_RELAX = {"x86_64": "pause", "aarch64": "yield", "arm64": "yield"}
_FUTEX = {"x86_64": 202, "aarch64": 98}
_SLEEP_FUTEX = """
@one_second = private constant [2 x i64] [i64 1, i64 0]
declare i64 @syscall(i64, ...)
define internal void @pathc_wait(ptr %word, i32 %value) {{
  %r = call i64 (i64, ...) @syscall(i64 {number}, ptr %word, i64 128, i32 %value, ptr @one_second, ptr null, i64 0)
  ret void
}}
define internal void @pathc_wake(ptr %word) {{
  %r = call i64 (i64, ...) @syscall(i64 {number}, ptr %word, i64 129, i32 2147483647, ptr null, ptr null, i64 0)
  ret void
}}
"""
_SLEEP_POLL = """
declare i32 @usleep(i32)
define internal void @pathc_wait(ptr %word, i32 %value) {
  %r = call i32 @usleep(i32 200)
  ret void
}
define internal void @pathc_wake(ptr %word) {
  ret void
}
"""


def is_cpython() -> bool:
    """Whether the interpreter offers the C API the runtime calls."""
    return platform.python_implementation() == "CPython"


@cache
def runtime() -> Library:
    """The native runtime; its library lives as long as the process."""
    return compile_ir(runtime_ir(), host(), imports=_imports())


def runtime_ir() -> str:
    """LLVM IR text of the native runtime for this host."""
    arch = host().arch
    room = files("pathc.backends.llvm")
    text = "\n".join(room.joinpath(name).read_text(encoding="utf-8") for name in ("pool.ll", "call.ll"))
    futex = _FUTEX.get(arch) if sys.platform == "linux" else None
    relax = f'  call void asm sideeffect "{_RELAX[arch]}", ""()\n' if arch in _RELAX else ""
    sleep = _SLEEP_FUTEX.format(number=futex) if futex else _SLEEP_POLL
    return f"{text}\ndefine internal void @pathc_relax() {{\n{relax}  ret void\n}}\n{sleep}"


def aligned(count: int, align: int = 64) -> NDArray[np.uint8]:
    """`count` zero bytes whose first lies at a multiple of `align`; in huge pages, where there are, if they are many.

    Rows that are read in any order then miss no page tables.
    """
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if count < _MANY or advice is None:
        return _part(np.zeros(count + align, np.uint8), count, align)
    pages = mmap.mmap(-1, count + _HUGE)
    with suppress(OSError):
        pages.madvise(advice)
    return _part(np.frombuffer(pages, np.uint8), count, max(align, _HUGE))


def address(array: NDArray[Any]) -> int:
    """Where an array's first element lies; quicker than `ctypes.data`."""
    return cast(int, array.__array_interface__["data"][0])


def _part(memory: NDArray[np.uint8], count: int, align: int) -> NDArray[np.uint8]:
    start = -memory.ctypes.data % align
    return memory[start : start + count]


def _imports() -> dict[str, int]:
    if not is_cpython():
        return dict.fromkeys((*_PYTHON, *_OBJECTS), aligned(64).ctypes.data)
    api = ctypes.pythonapi
    functions = {name: ctypes.cast(getattr(api, name), ctypes.c_void_p).value or 0 for name in _PYTHON}
    return functions | {name: ctypes.addressof(ctypes.c_void_p.in_dll(api, name)) for name in _OBJECTS}
