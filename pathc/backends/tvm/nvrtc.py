"""PTX and cubin from CUDA text on any machine, through the NVRTC library of the package nvidia-cuda-nvrtc.

Neither a GPU nor a driver is needed. Arithmetic is that of the text: no fast-math, sums and products may be fused.
"""

from __future__ import annotations

import ctypes
import re
from ctypes.util import find_library
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from pathc.support.diagnostics import Diagnostic, InternalError, UnavailableError, error

INSTALL = "pip install 'nvidia-cuda-nvrtc>=13'"
ARCHITECTURES = ("sm_80", "sm_90")
"""What binaries are made for unless another one is asked for: A100, and H100 and H200."""
_SHARED = {"sm_80": 163 * 1024, "sm_90": 227 * 1024}
_SHARED_ELSEWHERE = 99 * 1024
_NAME = re.compile(r"sm_\d{2,3}[af]?")
_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")


@dataclass(frozen=True)
class Resources:
    """What a kernel takes of a multiprocessor: registers of a thread, bytes of its stack, bytes spilled."""

    kernel: str
    registers: int
    stack: int
    spilled: int


@dataclass(frozen=True)
class Binary:
    """A compiled program for one architecture."""

    arch: str
    ptx: str
    cubin: bytes
    resources: tuple[Resources, ...]


def shared_of(arch: str) -> int:
    """Bytes of shared memory that a block of threads can have."""
    return _SHARED.get(arch, _SHARED_ELSEWHERE)


@cache
def library_path() -> str:
    """Where NVRTC lies: in the package, or where the system has it; empty if it is nowhere."""
    spec = find_spec("nvidia")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        found = sorted(Path(folder).glob("*/lib/libnvrtc.so.[0-9]*"), reverse=True)
        if found:
            return str(found[0])
    return find_library("nvrtc") or ""


@cache
def _nvrtc() -> ctypes.CDLL:
    path = library_path()
    try:
        return ctypes.CDLL(path) if path else _missing("it is not installed")
    except OSError as reason:
        return _missing(str(reason))


def _missing(why: str) -> ctypes.CDLL:
    text = f"PTX and cubin need NVRTC, which cannot be used: {why}"
    raise UnavailableError(Diagnostic("E0660", text, help=INSTALL))


def check_arch(arch: str) -> None:
    """Raise E0661 for a name that is none of an architecture, or of one that NVRTC does not know."""
    known = ", ".join(supported()) if library_path() else ", ".join(ARCHITECTURES)
    named = _NAME.fullmatch(arch)
    if not named or (library_path() and arch.rstrip("af") not in supported()):
        newer = "; for newer ones pip install --upgrade nvidia-cuda-nvrtc" if named else ""
        raise error("E0661", f"there is no GPU architecture `{arch}`", help=f"architectures: {known}{newer}")


def number_of(arch: str) -> int:
    """The number in `sm_90`, ten times the major one and the minor one."""
    return int(arch.removeprefix("sm_").rstrip("af"))


@cache
def supported() -> tuple[str, ...]:
    """Architectures that NVRTC compiles for."""
    nvrtc, count = _nvrtc(), ctypes.c_int()
    nvrtc.nvrtcGetNumSupportedArchs(ctypes.byref(count))
    numbers = (ctypes.c_int * count.value)()
    nvrtc.nvrtcGetSupportedArchs(numbers)
    return tuple(f"sm_{number}" for number in numbers)


def compile_text(text: str, arch: str) -> Binary:
    """Compile for one architecture.

    Raises UnavailableError E0660 without NVRTC, E0661 for an unknown architecture, InternalError E0662 for a text
    that NVRTC does not take.
    """
    nvrtc = _nvrtc()
    check_arch(arch)
    handle = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(handle), text.encode(), b"net.cu", 0, None, None)
    try:
        options = [f"--gpu-architecture={arch}", "--std=c++17", "--ptxas-options=--verbose", "--fmad=true"]
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        failed = nvrtc.nvrtcCompileProgram(handle, len(options), given)
        log = _taken(nvrtc, handle, "ProgramLog").decode(errors="replace")
        if failed:
            raise InternalError(Diagnostic("E0662", f"NVRTC refused the kernels: {log.strip()[:600]}"))
        ptx = _taken(nvrtc, handle, "PTX").rstrip(b"\0").decode()
        return Binary(arch, ptx, _taken(nvrtc, handle, "CUBIN"), _resources(log))
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(handle))


def _taken(nvrtc: ctypes.CDLL, handle: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    nvrtc[f"nvrtcGet{what}Size"](handle, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(max(1, size.value))
    nvrtc[f"nvrtcGet{what}"](handle, buffer)
    return buffer.raw[: size.value]


def _resources(log: str) -> tuple[Resources, ...]:
    """What ptxas reports, a kernel at a time."""
    found: list[Resources] = []
    for part in re.split(r"(?=Compiling entry function)", log):
        entry, spills, used = _ENTRY.search(part), _SPILLS.search(part), _USED.search(part)
        if entry and spills and used:
            stack, stores, loads = (int(n) for n in spills.groups())
            found.append(Resources(entry[1], int(used[1]), stack, stores + loads))
    return tuple(found)


def report(binary: Binary) -> str:
    """The resources of every kernel as a table."""
    lines = [f"{binary.arch}: {len(binary.cubin):,} bytes of code"]
    lines += [f"  {r.kernel:14} {r.registers:4} registers  {r.stack:5} bytes stack  {r.spilled:5} bytes spilled"
              for r in binary.resources]  # fmt: skip
    return "\n".join(lines) + "\n"
