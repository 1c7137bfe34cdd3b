"""CUDA text on the processor: compiled with g++ behind `cuda_on_cpu.h`, launched as a driver would launch it."""

from __future__ import annotations

import ctypes
import hashlib
import math
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np

from pathc.backends.tvm.program import Launch, Program, extent

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
ORDERS = (0, 1, 2, 3)
"""Ascending, descending, and two random orders of threads."""
ERRORS = {1: "a thread ended while others wait at a barrier", 2: "a part of a warp waits for the rest"}
_SIGNATURE = re.compile(
    r'^extern "C" __global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(([^)]*)\) \{', re.MULTILINE
)
_DYNAMIC = re.compile(r"extern __shared__ (?:__align__\(\d+\) )?(\w+) (\w+)\[\];")
_libraries: dict[str, ctypes.CDLL] = {}


class KernelError(Exception):
    """A kernel that would hang or be undefined on a GPU."""


def available() -> bool:
    return shutil.which("g++") is not None


def build(text: str) -> ctypes.CDLL:
    """A library with a function `run_NAME(arguments, grid, block, order)` for every kernel of the text."""
    key = hashlib.sha256(text.encode()).hexdigest()
    if key not in _libraries:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "kernels.so")
            build_file(text, target)
            _libraries[key] = ctypes.CDLL(str(target))
    return _libraries[key]


def build_file(text: str, target: Path) -> None:
    """That library as a file."""
    body = _DYNAMIC.sub(r"\1* \2 = (\1*)gpu::shared;", text).replace("__shared__", "static")
    parts = ['#include "cuda_on_cpu.h"\n', body]
    for name, parameters in _SIGNATURE.findall(text):
        kinds = [p.rsplit(" ", 1)[0].replace("__restrict__", "") for p in filter(None, parameters.split(", "))]
        given = ", ".join(f"*({kind}*)a[{at}]" for at, kind in enumerate(kinds))
        parts.append(f"static void call_{name}(void** a) {{ {name}({given}); }}\n")
        parts.append(f'extern "C" int run_{name}(void** a, Extent g, Extent b, int order)')
        parts.append(f" {{ return gpu::launch(call_{name}, a, g, b, order); }}\n")
    source = target.with_suffix(".cpp")
    source.write_text("".join(parts))
    _compile("-shared", f"-I{_headers().name}", "-o", target, source)


@cache
def _headers() -> tempfile.TemporaryDirectory[str]:
    """A folder with the header, compiled once: it takes longer than the kernels behind it."""
    folder = tempfile.TemporaryDirectory()
    header = shutil.copy(HEADER, folder.name)
    _compile("-x", "c++-header", "-o", f"{header}.gch", header)
    return folder


def _compile(*arguments: str | Path) -> None:
    command = ["g++", "-std=c++17", "-O0", "-ffp-contract=off", "-w", "-fPIC", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]


_LAUNCH = re.compile(r"(\w+)<<<(.*?), stream>>>\((.*?)\);$", re.MULTILINE)
_RUNTIME = """struct dim3 { dim3(int, int, int) {} };
typedef int cudaError_t; typedef void* cudaStream_t; enum { cudaSuccess, cudaFuncAttributeMaxDynamicSharedMemorySize };
template <class F> int cudaFuncSetAttribute(F, int, int) { return 0; }
inline int cudaGetLastError() { return 0; }
inline void launched(dim3, dim3, int) {}
"""


def check_launches(text: str, target: Path) -> None:
    """Compile a `.cu` with its functions that launch, as a C++ compiler sees launches: numbers, and a call."""
    host = text.replace("#if defined(__CUDACC__) && !defined(__CUDACC_RTC__)", "#if 1")
    found = len(_LAUNCH.findall(host))
    build_file(_RUNTIME + _LAUNCH.sub(r"launched(\2); \1(\3);", host), target)
    assert found == text.count("<<<") > 0


class Extent(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int), ("z", ctypes.c_int))


def launch(library: ctypes.CDLL, one: Launch, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, int], order: int):
    """Run one kernel; KernelError for what a GPU would not survive."""
    values = [
        ctypes.c_void_p(arrays[name].ctypes.data) if name in arrays else ctypes.c_int(extent(name, numbers))
        for name in one.arguments
    ]
    pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
    grid = Extent(*(extent(e, numbers) for e in one.grid))
    run = library[f"run_{one.kernel}"]
    run.argtypes = [ctypes.c_void_p, Extent, Extent, ctypes.c_int]
    fault = run(pointers, grid, Extent(*one.block), order)
    if fault:
        raise KernelError(f"{one.kernel}: {ERRORS[fault]}")


def run(program: Program, parameters: Mapping[str, np.ndarray], x: np.ndarray, order: int = 0, text: str = ""):
    """The outputs of a whole program; buffers start as NaN, and outputs have a margin that must stay untouched.

    States of cells are among the parameters, and handed on there.
    """
    return _run(program, dict(parameters) | {"x": x}, {"y": program.outputs}, order, text)["y"]


def run_gradients(
    program: Program, parameters: Mapping[str, np.ndarray], x: np.ndarray, dy: np.ndarray, order: int = 0
):
    """Outputs, `dx` and gradients of weights of a program with a backward pass, by name."""
    return _run(program, dict(parameters) | {"x": x, "dy": dy}, {"y": program.outputs, "dx": program.inputs}, order)


def _run(program: Program, given: Mapping[str, np.ndarray], outputs: Mapping[str, int], order: int, text: str = ""):
    shape, lanes = given["x"].shape[:-1], program.lanes
    batch, steps, rows = shape[0], shape[-1] if program.sequences else 1, math.prod(shape)
    tiles = -(-rows // lanes)
    numbers = {"batch": batch, "steps": steps, "rows": rows, "tiles": tiles}
    arrays = {name: np.full((tiles, units, lanes), np.nan, np.float32) for name, units in program.buffers}
    arrays |= {name: np.full((rows, columns), np.nan, np.float32) for name, columns in program.arrays}
    results = {name: np.full((rows + 1, columns), np.nan, np.float32) for name, columns in outputs.items()}
    sums = {name: np.full(shape, np.nan, np.float32) for name, shape in program.gradients}
    arrays |= {name: np.ascontiguousarray(array) for name, array in given.items()} | results | sums
    library = build(text or program.text)
    for one in program.launches:
        assert one.threads <= 1024
        assert one.shared <= 227 * 1024
        launch(library, one, arrays, numbers, order)
    for array in results.values():
        assert np.isnan(array[rows]).all()
    return {name: array[:rows].reshape(*shape, array.shape[1]) for name, array in results.items()} | sums
