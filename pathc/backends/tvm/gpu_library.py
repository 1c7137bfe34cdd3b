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
from pathc.support.diagnostics import PathcError, error

_HOST = ("gpu_host.c", "gpu_driver.h")
_NUMBERS = {"batch": "BATCH", "tiles": "TILES"}
_KINDS = {"i": 0, "u": 1, "f": 2}
"""Kinds of numbers as DLPack counts them."""


@dataclass(frozen=True)
class Extent:
    """How many elements an array has: `fixed`, with so many for every sample and tile; `shape` where it is fixed."""

    name: str
    fixed: int = 0
    per_sample: int = 0
    per_tile: int = 0
    dtype: str = "float32"
    shape: tuple[int, ...] = ()

    def elements(self, batch: int, lanes: int) -> int:
        """Elements for a batch in tiles of `lanes` samples."""
        return self.fixed + self.per_sample * batch + self.per_tile * -(-batch // lanes)


def extents(program: Program, parameters: Mapping[str, NDArray[Any]]) -> tuple[Extent, ...]:
    """All arrays of a program in the order in which its library takes them."""
    ends = [Extent("x", per_sample=program.inputs), Extent("y", per_sample=program.outputs)]
    if program.gradients:
        ends += [Extent("dy", per_sample=program.outputs), Extent("dx", per_sample=program.inputs)]
    buffers = [Extent(name, per_tile=units * program.lanes) for name, units in program.buffers]
    sums = [Extent(name, math.prod(shape), shape=shape) for name, shape in program.gradients]
    weights = [Extent(name, array.size, dtype=str(array.dtype)) for name, array in parameters.items()]
    return (*ends, *buffers, *sums, *weights)


def run_arguments(program: Program, parameters: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
    """Arrays that the function `run` takes behind the number of samples, in order."""
    used = {name for launch in program.forward for name in launch.arguments}
    return tuple(one.name for one in extents(program, parameters) if one.name in used)


def gpu_library(program: Program, parameters: Mapping[str, NDArray[Any]], binary: nvrtc.Binary) -> bytes:
    """The library, with cubin for the architecture and the newer ones that are known, and PTX for all that come later.

    Raises UnavailableError E0660 without NVRTC, E0670 without a C compiler; E0675 for kernels that take other numbers
    than those of samples and tiles.
    """
    if program.sequences:
        raise _no_number("steps")
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
    first_sum = first_buffer + len(program.buffers)
    sizes = {
        "LANES": program.lanes,
        "MOST": program.most,
        "ARRAYS": len(arrays),
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
    for at, launch in enumerate(program.launches):
        given = [_argument(name, places) for name in launch.arguments]
        lines.append(f"static const int16_t arguments{at}[] = {_listed(given)};")
    lines.append(f"static const Launch launches[] = {_listed(map(_launch, range(1 << 30), program.launches))};")
    used = {name for launch in program.forward for name in launch.arguments}
    given = [str(at) for name, at in places.items() if name in used]
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
    sizes = f"{one.fixed}, {one.per_sample}, {one.per_tile}, {_KINDS[dtype.kind]}, {8 * dtype.itemsize}"
    return f'{{"{one.name}", {sizes}, {len(one.shape)}, {_listed(map(str, one.shape or (0,)))}}}'


def _launch(at: int, one: Launch) -> str:
    grid = _listed(_NUMBERS.get(extent, extent) for extent in one.grid)
    block = _listed(map(str, one.block))
    return f'{{"{one.kernel}", {grid}, {block}, {one.shared}, {len(one.arguments)}, arguments{at}}}'


def _argument(name: str, places: Mapping[str, int]) -> str:
    if name not in places and name not in _NUMBERS:
        raise _no_number(name)
    return _NUMBERS.get(name) or str(places[name])


def _no_number(name: str) -> PathcError:
    text = f"kernels of this net take a number `{name}`, which a library cannot give them"
    return error("E0675", text, help="write net.cubin, and launch the kernels as net.json says")
