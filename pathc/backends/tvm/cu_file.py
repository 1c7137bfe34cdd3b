"""A whole net as one `.cu` for nvcc: the kernels, and functions that launch them with their grids on a stream."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from pathc.backends.tvm.gpu_library import Extent, extents
from pathc.backends.tvm.program import Launch, Program

_UNASKED = 48 * 1024
"""Bytes of dynamic shared memory that a kernel has without asking for them."""
_C_TYPES = {
    "float32": "float",
    "float64": "double",
    "int32": "int",
    "uint32": "unsigned",
    "int8": "signed char",
    "uint8": "unsigned char",
}
_SIGNATURE = re.compile(r"__global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(([^)]*)\)")


def cu_file(program: Program, parameters: Mapping[str, NDArray[Any]]) -> str:
    """The text: NVRTC sees the kernels alone, nvcc `NAME_forward` and, with a backward pass, `NAME_gradients`, too."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", program.name)
    parts = [_function(f"{name}_forward", program, parameters, program.forward)]
    if program.gradients:
        parts.append(_function(f"{name}_gradients", program, parameters, program.launches))
    return "\n".join([program.text, "#if defined(__CUDACC__) && !defined(__CUDACC_RTC__)", *parts, "#endif", ""])


def _function(name: str, program: Program, parameters: Mapping[str, NDArray[Any]], launches: Sequence[Launch]) -> str:
    """A function in C that launches kernels; all arrays lie on the GPU."""
    used = {argument for one in launches for argument in one.arguments}
    arrays = [one for one in extents(program, parameters) if one.name in used]
    called = {one.name: one.name if one.name.isidentifier() else f"h{at}" for at, one in enumerate(arrays)}
    types = {kernel: [_type(one) for one in taken.split(",")] for kernel, taken in _SIGNATURE.findall(program.text)}
    lines = [f"// {called[one.name]}: {_size(one, program)}" for one in arrays]
    sizes = ("batch", "steps") if program.sequences else ("batch",)
    given = [f"int {size}" for size in sizes]
    given += [f"{_C_TYPES[one.dtype]}* {called[one.name]}" for one in arrays]
    lines.append(f'extern "C" cudaError_t {name}({", ".join(given)}, cudaStream_t stream) {{')
    lines.append(f"  const int rows = {' * '.join(sizes)}, tiles = {_divided('rows', program.lanes)};")
    lines.append("  if (rows < 1) return cudaSuccess;")
    for one in launches:
        if one.shared > _UNASKED:
            limit = f"cudaFuncAttributeMaxDynamicSharedMemorySize, {one.shared}"
            lines.append(f"  if (cudaError_t status = cudaFuncSetAttribute({one.kernel}, {limit})) return status;")
        given = zip(types[one.kernel], one.arguments, strict=True)
        passed = ", ".join(f"({kind}){called[key]}" if key in called else _number(key) for kind, key in given)
        grid, block = ", ".join(map(_number, one.grid)), ", ".join(map(str, one.block))
        shape = f"dim3({grid}), dim3({block}), {one.shared}, stream"
        lines.append(f"  {one.kernel}<<<{shape}>>>({passed});")
    return "\n".join([*lines, "  return cudaGetLastError();", "}"])


def _type(parameter: str) -> str:
    """The type of a kernel's parameter: what it is without its name."""
    return parameter.replace("__restrict__", "").strip().rpartition(" ")[0].strip()


def _number(text: str) -> str:
    """An extent of a grid or an integer argument in C."""
    name, _, divisor = text.partition("/")
    return _divided(name, int(divisor)) if divisor else name


def _divided(name: str, by: int) -> str:
    return f"({name} + {by - 1}) / {by}"


def _size(one: Extent, program: Program) -> str:
    """What an array is and how large."""
    if one.per_row:
        return f"[batch, {'steps, ' * program.sequences}{one.per_row}]"
    if one.per_sequence:
        return f"[batch, {one.per_sequence}], zero at first; the next call goes on with it"
    if one.per_tile:
        return f"{one.name} of net.json, [tiles, {one.per_tile // program.lanes}, {program.lanes}]"
    return f"{one.fixed} numbers"
