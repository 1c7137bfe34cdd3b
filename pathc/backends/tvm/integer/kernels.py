"""CUDA text of the kernels of an integer net, their launches, and the arrays they read.

Products of bytes are `mma` instructions: 16 destinations of a block, 8 samples, 16 or 32 sources at a time, u8 times s8
with sums of 32 bits. A warp holds 16 destinations for a whole tile; four bytes of four samples turn into four samples
of four sources on their way through shared memory. Which thread holds which elements is laid down in the PTX ISA,
section "Matrix fragments for mma".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.bytewise import functions_of, offset_of
from pathc.backends.tvm.integer.functions import applied
from pathc.backends.tvm.integer.plan import LANES, ROWS, Listed, Plan, Step, Tensor
from pathc.backends.tvm.program import PRELUDE, Launch, Program
from pathc.ir.quantized import IntegerStation, Reading
from pathc.ir.types import Call

Packed = dict[str, NDArray[Any]]
WARPS = 4
_WORDS = LANES // 4
_PITCH = LANES + 8
"""Words of a row of staged sources: threads of a warp that read neighbouring rows then meet no bank twice."""

INTEGER_PRELUDE = r"""typedef signed char schar;
#ifdef __CUDACC__
__device__ __forceinline__ void mma_32(int* c, const uint* a, const uint* b) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_16(int* c, const uint* a, const uint* b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.u8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
               : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(b[0]));
}
#endif
// The sum times its multiplier (y, below zero z) and 2^-w, to the nearest, ties to even, clamped.
__device__ __forceinline__ int scaled(int sum, int4 by, int low, int high) {
  const long long product = (long long)sum * (sum >= 0 ? by.y : by.z);
  const long long whole = product >> by.w, rest = product - (whole << by.w), half = 1LL << (by.w ? by.w - 1 : 0);
  const long long q = whole + (rest > half || (rest == half && by.w && (whole & 1)));
  return (int)(q < low ? low : q > high ? high : q);
}
"""
"""What the kernels share; where the text is not compiled for a GPU, other products must be given."""


def write(plan: Plan) -> tuple[Program, Packed]:
    """The program of a plan, and its parameters."""
    writer = _Writer(plan)
    first = 0
    for each in plan.inputs:
        writer.load(each, first)
        first += each.station.real_units
    for step in plan.steps:
        writer.step(step)
    start = 0
    for each in plan.outputs:
        writer.save(each, start)
        start += each.station.real_units
    name = plan.network.graph.name
    head = f"// {' '.join(name.split())}: tiles of {LANES} samples, integers\n"
    text = head + PRELUDE + INTEGER_PRELUDE + "".join(writer.texts)
    buffers = [("values", -(-plan.units // 4))]
    if plan.sums:
        buffers.append(("sums", plan.summed))
    return Program(name, text, LANES, first, start, tuple(writer.launches), tuple(buffers)), writer.parameters


@dataclass
class _Writer:
    """A program being written."""

    plan: Plan
    texts: list[str] = field(default_factory=list[str])
    launches: list[Launch] = field(default_factory=list[Launch])
    parameters: Packed = field(default_factory=Packed)

    def load(self, each: IntegerStation, column: int) -> None:
        """Columns of `x` as bytes of a station."""
        first, real = self.plan.sources[self.plan.given[each.station.name]]
        assert each.format is not None
        low, high = each.format.low, each.format.high
        body = [
            "  __shared__ __align__(16) uchar staged[32][68];",
            "  const int u = (int)blockIdx.x * 32 + (int)threadIdx.x;",
            f"  for (int s = (int)threadIdx.y; s < {LANES}; s += 8) {{",
            f"    const int sample = (int)blockIdx.y * {LANES} + s;",
            f"    const bool inside = sample < batch && u < {real};",
            f"    const float v = inside ? x_ptr[(long long)sample * {self._inputs} + {column} + u] : 0.0f;",
            f"    const double q = rint((double)v / {each.scale!r});",
            f"    staged[threadIdx.x][s] = (uchar)((int)(q < {low}.0 ? {low}.0 : q > {high}.0 ? {high}.0 : q)"
            f" + {offset_of(each)});",
            "  }",
            "  __syncthreads();",
            self._words(),
            f"  for (int k = (int)(threadIdx.y * 32 + threadIdx.x); k < 32 * {_WORDS}; k += 256) {{",
            f"    const int row = (int)blockIdx.x * 32 + k / {_WORDS}, at = k % {_WORDS};",
            f"    const uint v = *(const uint*)&staged[k / {_WORDS}][at * 4];",
            f"    if (row < {real}) words[({first} + row) * {_WORDS} + at] = v;",
            "  }",
        ]
        self._add(body, {"x": "const float*", "values": "uchar*"}, -(-real // 32), (32, 8), batch=True)

    def step(self, step: Step) -> None:
        """All that computes a station."""
        for kernel in step.kernels:
            if isinstance(kernel, Tensor):
                self._tensor(step, kernel)
            else:
                self._listed(step, kernel)
        reading, station = step.station.reading, step.station.station
        if reading is not None and reading.winners and reading.winners < station.real_units:
            self._winners(step.station, reading.winners)

    def save(self, each: IntegerStation, column: int) -> None:
        """An output as numbers, columns of `y`."""
        station, name = each.station, self._name
        real, outputs = station.real_units, sum(s.real_units for s in self.plan.network.graph.outputs)
        if each.reading is None:
            array, kind, units, first = "sums", "const int", self.plan.summed, self.plan.sums[station.name]
            factors = each.sum_scale
        else:
            array, kind, units, first = "values", "const uchar", self.plan.units, self.plan.sources[station.name][0]
            factors = np.full(real, each.scale)
        self.parameters[f"{name}_d"] = factors
        start = f"(long long)blockIdx.y * {units * LANES} + {first * LANES}"
        body = [
            "  __shared__ float staged[32][65];",
            f"  {kind}* from = {array}_ptr + {start};",
            f"  for (int k = (int)(threadIdx.y * 32 + threadIdx.x); k < 32 * {LANES}; k += 256) {{",
            f"    const int row = (int)blockIdx.x * 32 + k / {LANES};",
            f"    if (row < {real})",
            f"      staged[k / {LANES}][k % {LANES}] = (float)((double)((int)from[row * {LANES} + k % {LANES}] -"
            f" {offset_of(each) if each.reading is not None else 0}) * {name}_d_ptr[row]);",
            "  }",
            "  __syncthreads();",
            "  const int u = (int)blockIdx.x * 32 + (int)threadIdx.x;",
            f"  for (int s = (int)threadIdx.y; s < {LANES}; s += 8) {{",
            f"    const int sample = (int)blockIdx.y * {LANES} + s;",
            f"    if (sample < batch && u < {real})",
            f"      y_ptr[(long long)sample * {outputs} + {column} + u] = staged[threadIdx.x][s];",
            "  }",
        ]
        given = {array: f"{kind}*", f"{name}_d": "const double*", "y": "float*"}
        self._add(body, given, -(-real // 32), (32, 8), batch=True)
        functions = functions_of(each)
        if functions:
            self._functions(functions, real, f"(long long)sample * {outputs} + {column}")

    # Sums

    def _tensor(self, step: Step, kernel: Tensor) -> None:
        name, (_, high) = self._name, kernel.rows.shape
        wide, depth, jobs = kernel.columns.shape[1], kernel.depth, kernel.jobs
        steps, quads, held = wide // depth, depth // 4, depth // 8
        self.parameters |= {
            f"{name}_w": fragments(kernel),
            f"{name}_i": np.maximum(kernel.columns, 0).astype(np.int32),
            f"{name}_r": kernel.rows.astype(np.int32),
        }
        body = [
            f"  __shared__ __align__(16) uint staged[{WARPS}][{quads}][{_PITCH}];",
            "  const int warp = (int)threadIdx.x >> 5, lane = (int)threadIdx.x & 31;",
            "  const int group = lane >> 2, place = lane & 3;",
            f"  const int job = (int)blockIdx.x * {WARPS} + warp;",
            f"  if (job >= {jobs}) return;",
            f"  const int block = job / {high // ROWS}, first = job % {high // ROWS} * {ROWS};",
            self._words(),
            f"  int sums[{LANES // 8}][4];",
            f"  for (int n = 0; n < {LANES // 8}; n++)",
            "    for (int e = 0; e < 4; e++) sums[n][e] = 0;",
            f"  for (int step = 0; step < {steps}; step++) {{",
            "    __syncwarp();",
            f"    for (int k = lane; k < {quads * _WORDS}; k += 32) {{",
            f"      const int quad = k / {_WORDS}, at = k % {_WORDS};",
            f"      const int4 unit = ((const int4*){name}_i_ptr)[(block * {steps} + step) * {quads} + quad];",
            *(f"      const uint {v} = words[unit.{c} * {_WORDS} + at];" for v, c in zip("abcd", "xyzw", strict=True)),
            "      const uint ab = __byte_perm(a, b, 0x5140), cd = __byte_perm(c, d, 0x5140);",
            "      const uint ba = __byte_perm(a, b, 0x7362), dc = __byte_perm(c, d, 0x7362);",
            "      uint* into = &staged[warp][quad][at * 4];",
            "      into[0] = __byte_perm(ab, cd, 0x5410);",
            "      into[1] = __byte_perm(ab, cd, 0x7632);",
            "      into[2] = __byte_perm(ba, dc, 0x5410);",
            "      into[3] = __byte_perm(ba, dc, 0x7632);",
            "    }",
            "    __syncwarp();",
            f"    uint a[{held}];",
            f"    for (int e = 0; e < {held}; e++)",
            f"      a[e] = {name}_w_ptr[((job * {steps} + step) * 32 + lane) * {held} + e];",
            f"    for (int n = 0; n < {LANES // 8}; n++) {{",
            "      uint b[2];",
            "      for (int e = 0; e < 2; e++)",
            f"        b[e] = staged[warp][(place + e * 4) % {quads}][n * 8 + group];",
            f"      mma_{depth}(sums[n], a, b);",
            "    }",
            "  }",
            "  for (int half = 0; half < 2; half++) {",
            f"    const int row = {name}_r_ptr[block * {high} + first + group + half * 8];",
            "    if (row < 0) continue;",
            f"    for (int n = 0; n < {LANES // 8}; n++)",
            "      for (int e = 0; e < 2; e++) {",
            "        const int sample = n * 8 + place * 2 + e;",
            *(f"        {line}" for line in self._finished(step, "sums[n][half * 2 + e]")),
            "      }",
            "  }",
        ]
        given = {f"{name}_w": "const uint*", f"{name}_i": "const int*", f"{name}_r": "const int*"}
        self._add(body, {**self._ends(step), **given}, -(-jobs // WARPS), (32 * WARPS, 1))

    def _listed(self, step: Step, kernel: Listed) -> None:
        name, rows = self._name, len(kernel.rows)
        self.parameters |= {
            f"{name}_w": kernel.weights,
            f"{name}_i": kernel.columns.astype(np.int32),
            f"{name}_r": kernel.rows.astype(np.int32),
            f"{name}_p": kernel.starts.astype(np.int32),
        }
        body = [
            "  const int number = (int)blockIdx.x * 8 + (int)threadIdx.y;",
            f"  if (number >= {rows}) return;",
            f"  const int row = {name}_r_ptr[number], end = {name}_p_ptr[number + 1];",
            self._words(),
            "  int sums[4] = {0, 0, 0, 0};",
            f"  for (int e = {name}_p_ptr[number]; e < end; e++) {{",
            f"    const uint v = words[{name}_i_ptr[e] * {_WORDS} + (int)threadIdx.x];",
            f"    const int w = {name}_w_ptr[e];",
            "    for (int s = 0; s < 4; s++) sums[s] += w * (int)(v >> (8 * s) & 255u);",
            "  }",
            "  for (int s = 0; s < 4; s++) {",
            "    const int sample = (int)threadIdx.x * 4 + s;",
            *(f"    {line}" for line in self._finished(step, "sums[s]")),
            "  }",
        ]
        given = {f"{name}_w": "const schar*"} | {f"{name}_{letter}": "const int*" for letter in "irp"}
        self._add(body, {**self._ends(step), **given}, -(-rows // 8), (_WORDS, 8))

    def _ends(self, step: Step) -> dict[str, str]:
        """What both kinds of sums read and write besides weights; puts the numbers of the station in place."""
        name, each = self._name, step.station
        reading, real = each.reading, each.station.real_units
        numbers = np.zeros((real, 4), np.int32)
        numbers[:, 0] = step.bias
        taken = {"values": "uchar*", f"{name}_f": "const int*"}
        if reading is None:
            taken["sums"] = "int*"
        else:
            numbers[:, 1:] = np.stack([reading.positive, reading.negative, reading.shift], axis=1)
            if reading.table is not None:
                self.parameters[f"{name}_t"] = (reading.table + offset_of(each)).astype(np.uint8)
                taken[f"{name}_t"] = "const uchar*"
        self.parameters[f"{name}_f"] = numbers
        if step.skips:
            self.parameters[f"{name}_s"] = np.stack([factors for _, factors in step.skips])
            taken[f"{name}_s"] = "const int*"
        return taken

    def _finished(self, step: Step, sums: str) -> list[str]:
        """Bias and skips are added to the sum of unit `row` and `sample`, and what is read of it is stored."""
        name, each = self._name, step.station
        real, reading = each.station.real_units, each.reading
        tile = f"(long long)blockIdx.y * {self.plan.units * LANES}"
        lines = [f"const int4 by = ((const int4*){name}_f_ptr)[row];", f"int sum = {sums} + by.x;"]
        for number, (first, _) in enumerate(step.skips):
            value = f"(int)values_ptr[{tile} + ({first} + row) * {LANES} + sample]"
            lines.append(f"sum += {name}_s_ptr[{number * real} + row] * {value};")
        if reading is None:
            first = self.plan.sums[each.station.name]
            place = f"(long long)blockIdx.y * {self.plan.summed * LANES} + ({first} + row) * {LANES} + sample"
            return [*lines, f"sums_ptr[{place}] = sum;"]
        first = self.plan.sources[each.station.name][0]
        place = f"{tile} + ({first} + row) * {LANES} + sample"
        return [*lines, f"values_ptr[{place}] = (uchar){self._read(each, reading)};"]

    def _read(self, each: IntegerStation, reading: Reading) -> str:
        value = f"scaled(sum, by, {reading.low}, {reading.high})"
        if reading.table is not None:
            return f"{self._name}_t_ptr[{value} + {len(reading.table) // 2}]"
        return f"({value} + {offset_of(each)})"

    # Functions of whole stations

    def _winners(self, each: IntegerStation, winners: int) -> None:
        """All but the largest bytes of a sample are silenced: a threshold by bisection, then the lower units first."""
        first, real = self.plan.sources[each.station.name]
        own = f"own[u * {LANES}]"
        body = [
            f"  uchar* own = values_ptr + (long long)blockIdx.y * {self.plan.units * LANES} + {first * LANES}"
            " + threadIdx.x;",
            "  int low = 0, high = 255;",
            "  while (low < high) {",
            "    const int middle = (low + high + 1) / 2;",
            "    int count = 0;",
            f"    for (int u = 0; u < {real}; u++) count += {own} >= middle;",
            f"    if (count >= {winners}) low = middle; else high = middle - 1;",
            "  }",
            f"  int room = {winners};",
            f"  for (int u = 0; u < {real}; u++) room -= {own} > low;",
            f"  for (int u = 0; u < {real}; u++) {{",
            f"    const int v = {own};",
            f"    if (v < low || (v == low && room <= 0)) {own} = {offset_of(each)};",
            "    room -= v == low;",
            "  }",
        ]
        self._add(body, {"values": "uchar*"}, 1, (LANES, 1))

    def _functions(self, stages: tuple[Call, ...], real: int, place: str) -> None:
        """Functions of an output that is given as sums, in float32, a thread for every sample."""
        body = [
            f"  const int sample = (int)blockIdx.y * {LANES} + (int)threadIdx.x;",
            "  if (sample >= batch) return;",
            f"  float* own = y_ptr + {place};",
            *(line for stage in stages for line in applied(stage, real)),
        ]
        self._add(body, {"y": "float*"}, 1, (LANES, 1), batch=True)

    # Text

    @property
    def _name(self) -> str:
        return f"k{len(self.launches)}"

    @property
    def _inputs(self) -> int:
        return sum(each.station.real_units for each in self.plan.inputs)

    def _words(self) -> str:
        """The values of a tile as words of four samples."""
        return f"  uint* words = (uint*)values_ptr + (long long)blockIdx.y * {self.plan.units * _WORDS};"

    def _add(
        self,
        body: list[str],
        given: dict[str, str],
        grid: int,
        block: tuple[int, int],
        *,
        batch: bool = False,
    ) -> None:
        """A kernel of this body, and its launch: `grid` blocks of threads for every tile."""
        threads = block[0] * block[1]
        taken = ", ".join([*(f"{kind} __restrict__ {key}_ptr" for key, kind in given.items()), *["int batch"] * batch])
        head = f'extern "C" __global__ void __launch_bounds__({threads}) {self._name}_kernel({taken}) {{'
        self.texts.append("\n".join([head, *body, "}"]) + "\n")
        arguments = (*given, *["batch"] * batch)
        self.launches.append(Launch(f"{self._name}_kernel", (str(grid), "tiles", "1"), (*block, 1), 0, arguments))


def fragments(kernel: Tensor) -> NDArray[np.uint32]:
    """Weights in the order in which threads hold them: [jobs, steps, 32 threads, depth / 8] words of four sources."""
    groups, high, wide = kernel.weights.shape
    depth = kernel.depth
    # [groups, pieces, upper, row, steps, half, place, 4]: a word holds four sources of one row.
    parts = kernel.weights.reshape(groups, high // ROWS, 2, 8, wide // depth, depth // 16, 4, 4)
    ordered = parts.transpose(0, 1, 4, 3, 6, 5, 2, 7)
    words = np.ascontiguousarray(ordered).view(np.uint32)
    return words.reshape(kernel.jobs, wide // depth, 32, depth // 8)
