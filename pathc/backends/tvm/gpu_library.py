"""A net for a GPU as a shared library for apache-tvm-ffi: tables for `gpu_host.c`, which the C compiler links.

No CUDA toolkit takes part: NVRTC makes the binaries, and the library finds libcuda when it is first called.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.tvm import facade, nvrtc
from pathc.backends.tvm.linker import link
from pathc.backends.tvm.program import Launch, Program

_HOST = ("gpu_host.c", "gpu_driver.h")
_KINDS = {"i": 0, "u": 1, "f": 2}
"""Kinds of numbers as DLPack counts them."""


@dataclass(frozen=True)
class Extent:
    """How many elements an array has: `fixed`, and so many for every sequence, row and tile; `shape` where it is fixed.

    Rows are samples, or the steps of all sequences; states have so many `per_sequence`.
    """

    name: str
    fixed: int = 0
    per_sequence: int = 0
    per_row: int = 0
    per_tile: int = 0
    dtype: str = "float32"
    shape: tuple[int, ...] = ()


def extents(program: Program, parameters: Mapping[str, NDArray[Any]]) -> tuple[Extent, ...]:
    """All arrays of a program in the order in which its library takes them."""
    ends = [Extent("x", per_row=program.inputs), Extent("y", per_row=program.outputs)]
    if program.gradients:
        ends += [Extent("dy", per_row=program.outputs), Extent("dx", per_row=program.inputs)]
    buffers = [Extent(name, per_tile=units * program.lanes) for name, units in program.buffers]
    buffers += [Extent(name, per_row=columns) for name, columns in program.arrays]
    sums = [Extent(name, math.prod(shape), shape=shape) for name, shape in program.gradients]
    weights = [Extent(name, array.size, dtype=str(array.dtype)) for name, array in parameters.items()]
    states = [Extent(name, per_sequence=size) for name, size in program.states]
    return (*ends, *buffers, *sums, *weights, *states)


def run_arguments(program: Program, parameters: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
    """Arrays that the function `run` takes behind the number of samples, or of sequences and steps, in order."""
    used = {name for launch in program.forward for name in launch.arguments}
    return tuple(one.name for one in extents(program, parameters) if one.name in used)


def gpu_library(program: Program, parameters: Mapping[str, NDArray[Any]], binary: nvrtc.Binary) -> bytes:
    """The library, with cubin for the architecture and the newer ones that are known, and PTX for all that come later.

    Raises UnavailableError E0660 without NVRTC, E0670 without a C compiler.
    """
    number = nvrtc.number_of(binary.arch)
    newer = [arch for arch in nvrtc.ARCHITECTURES if nvrtc.number_of(arch) > number]
    codes: dict[str, bytes] = {}
    entries: list[tuple[int, bool, str]] = []
    for arch in reversed(newer):
        codes[arch] = nvrtc.compile_text(program.text, arch).cubin
        entries.append((nvrtc.number_of(arch), False, arch))
    codes[binary.arch] = binary.cubin
    entries.append((number, False, binary.arch))
    specific = binary.arch[-1] in "af"
    if not specific:
        codes["ptx"] = binary.ptx.encode() + b"\0"
        entries.append((number, True, "ptx"))
    made_for = binary.arch if specific else f"{binary.arch} and newer"
    tables = _tables(program, extents(program, parameters), entries, made_for)
    host = {name: files("pathc.backends.tvm").joinpath(name).read_text(encoding="utf-8") for name in _HOST}
    return link({**host, "tables.h": tables, **codes}, _HOST[:1], facade.ffi_includes())


def _tables(
    program: Program, arrays: Sequence[Extent], binaries: Sequence[tuple[int, bool, str]], made_for: str
) -> str:
    places = {one.name: at for at, one in enumerate(arrays)}
    first_buffer = 4 if program.gradients else 2
    first_sum = first_buffer + len(program.buffers) + len(program.arrays)
    asked = [text for one in program.launches for text in (*one.grid, *one.arguments)]
    numbers = list(dict.fromkeys(text for text in asked if text not in places and not text.isdecimal()))
    places |= {text: -1 - at for at, text in enumerate(numbers)}
    sizes = {
        "SEQUENCES": int(program.sequences),
        "AXES": 2 + program.sequences,
        "LANES": program.lanes,
        "MOST": program.most,
        "ARRAYS": len(arrays),
        "NUMBERS": len(numbers),
        "LAUNCHES": len(program.launches),
        "FORWARD": len(program.forward),
        "BINARIES": len(binaries),
        "FIRST_BUFFER": first_buffer,
        "FIRST_SUM": first_sum,
        "FIRST_WEIGHT": first_sum + len(program.gradients),
        "MOST_ARGUMENTS": max(1, *(len(one.arguments) for one in program.launches)),
    }
    lines = [f"#define {name} {value}" for name, value in (sizes | {"X": 0, "Y": 1, "DY": 2, "DX": 3}).items()]
    lines.append(f'#define MADE_FOR "{made_for}"')
    lines += [_code(at, name) for at, (_, _, name) in enumerate(binaries)]
    kinds = [f"{{{n // 10}, {n % 10}, {int(newer)}, code{at}}}" for at, (n, newer, _) in enumerate(binaries)]
    lines.append(f"static const Binary binaries[] = {_listed(kinds)};")
    lines.append(f"static const Array arrays[] = {_listed(map(_array, arrays))};")
    lines.append(f"static const Number numbers[] = {_listed(_number(text, program.lanes) for text in numbers)};")
    for at, launch in enumerate(program.launches):
        given = [str(places[name]) for name in launch.arguments]
        lines.append(f"static const int16_t arguments{at}[] = {_listed(given)};")
    listed = [_launch(at, one, places) for at, one in enumerate(program.launches)]
    lines.append(f"static const Launch launches[] = {_listed(listed)};")
    used = {name for launch in program.forward for name in launch.arguments}
    given = [str(at) for at, one in enumerate(arrays) if one.name in used]
    lines.append(f"static const int16_t run_arguments[] = {_listed(given)};")
    kernels = " ".join(f"KERNEL({launch.kernel}, {at})" for at, launch in enumerate(program.launches))
    return "\n".join([*lines, f"#define KERNELS {kernels}", ""])


def _listed(items: Iterable[str]) -> str:
    return "{" + ", ".join(items) + "}"


def _code(at: int, file: str) -> str:
    """A binary among the constants, aligned as the driver likes it."""
    text = f'.pushsection .rodata\\n.balign 64\\ncode{at}: .incbin \\"{file}\\"\\n.byte 0\\n.popsection'
    return f'__asm__("{text}");\nextern const char code{at}[] __attribute__((visibility("hidden")));'


def _array(one: Extent) -> str:
    dtype = np.dtype(one.dtype)
    counts = one.fixed, one.per_sequence, one.per_row, one.per_tile
    numbers = ", ".join(map(str, (*counts, _KINDS[dtype.kind], 8 * dtype.itemsize, len(one.shape))))
    return f'{{"{one.name}", {numbers}, {_listed(map(str, one.shape or (0,)))}}}'


def _number(text: str, lanes: int) -> str:
    """An extent of a grid or an integer argument that depends on what is given: `steps`, `rows/64`, `tiles`."""
    name, _, divisor = (f"rows/{lanes}" if text == "tiles" else text).partition("/")
    return f"{{{name.upper()}, {divisor or 1}}}"


def _launch(at: int, one: Launch, places: Mapping[str, int]) -> str:
    grid = _listed(str(places.get(extent, extent)) for extent in one.grid)
    block = _listed(map(str, one.block))
    return f'{{"{one.kernel}", {grid}, {block}, {one.shared}, {len(one.arguments)}, arguments{at}}}'
