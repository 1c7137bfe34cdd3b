"""Dense blocks on tensor cores: CUDA text of kernels whose products are `mma` instructions, sums in float32.

A warp holds 16 destinations of a block for up to 64 samples; every step multiplies 16 x K weights with K x 8 values
read at their XOR addresses and rounded on the way: tf32 (m16n8k8), bf16 and fp16 (m16n8k16), fp8 (m16n8k32, e4m3).
Which thread holds which elements is laid down in the PTX ISA, section "Matrix fragments for mma". These kernels are
written as text, as a schedule has no say in the layout of fragments.

Where a block takes several steps, values of the next step are on their way to shared memory while those of this one
are multiplied: asynchronous copies of 16 bytes (`cp.async`) into two buffers by turns. A warp copies what it reads
itself and waits for no other: one wait and one meeting of the warp a step, by which all have read the other buffer.
"""

from __future__ import annotations

from typing import Literal

from pathc.backends.tvm.expressions import unit
from pathc.backends.tvm.plan import Blocks, NetPlan, Op
from pathc.backends.tvm.tir import arguments
from pathc.ir.catalogue import options_of
from pathc.ir.types import Call

Precision = Literal["tf32", "bf16", "fp16", "fp8"]
PRECISIONS: tuple[Precision, ...] = ("tf32", "bf16", "fp16", "fp8")
ROWS, SAMPLES = 16, 8
"""Destinations and samples of one instruction."""
WARPS = 4
_TOGETHER = 7
"""Blocks of threads that shall fit a multiprocessor: 72 registers, where ptxas else spills to have more threads."""
_DEPTH = {"tf32": 8, "bf16": 16, "fp16": 16, "fp8": 32}
_PACKED = {"tf32": 1, "bf16": 2, "fp16": 2, "fp8": 4}
"""Factors of a register."""
_FACTOR = 16
"""Weights of fp8 are so many times larger when they are rounded: it has few steps below 1/64."""
FROM, FP8_FROM = 80, 89
"""The first architectures with these products and copies, and with those of fp8."""
_HELD = {"tf32": 64, "bf16": 64, "fp16": 64, "fp8": 32}
"""Samples whose sums a warp holds at most: the units of a step take registers, too."""

PRELUDE = r"""#ifdef __CUDACC__
__device__ __forceinline__ void copy_16(float* to, const float* from) {
  const uint place = (uint)__cvta_generic_to_shared(to);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" : : "r"(place), "l"(from) : "memory");
}
__device__ __forceinline__ void copies_end() { asm volatile("cp.async.commit_group;" : : : "memory"); }
__device__ __forceinline__ void copies_wait() { asm volatile("cp.async.wait_group 0;" : : : "memory"); }
__device__ __forceinline__ uint rounded_tf32(float v) {
  uint r; asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v)); return r;
}
__device__ __forceinline__ uint rounded_bf16(float low, float high) {
  uint r; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low)); return r;
}
__device__ __forceinline__ uint rounded_fp16(float low, float high) {
  uint r; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low)); return r;
}
#if __CUDA_ARCH__ >= 890
// To the nearest, ties to even; what lies beyond 448 becomes 448.
__device__ __forceinline__ uint rounded_fp8(float a, float b, float c, float d) {
  ushort low, high;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(low) : "f"(b), "f"(a));
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(high) : "f"(d), "f"(c));
  return (uint)low | (uint)high << 16;
}
#endif
#define MMA(NAME, KIND)                                                                                         \
  __device__ __forceinline__ void NAME(float* c, const uint* a, const uint* b) {                                \
    asm volatile("mma.sync.aligned." KIND " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"              \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                               \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                           \
  }
MMA(mma_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")
MMA(mma_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
MMA(mma_fp16, "m16n8k16.row.col.f32.f16.f16.f32")
#if __CUDA_ARCH__ >= 890
MMA(mma_fp8, "m16n8k32.row.col.f32.e4m3.e4m3.f32")
#endif
#endif
"""
"""Copies, roundings and products; where the text is not compiled for a GPU, others must be given."""


def fits(plan: NetPlan, op: Op, precision: Precision) -> bool:
    """Whether an operation can be computed this way: whole instructions in every direction."""
    if not isinstance(op, Blocks) or plan.fused:
        return False
    return op.fan_out % ROWS == 0 and op.fan_in % _DEPTH[precision] == 0 and plan.lanes % SAMPLES == 0


def grid(op: Blocks) -> tuple[str, str, str]:
    """Blocks of threads in x, y and z."""
    return str(-(-op.count * (op.fan_out // ROWS) // WARPS)), "tiles", "1"


def shared_bytes(plan: NetPlan, op: Blocks, precision: Precision) -> int:
    """Of a block of threads: two buffers for every warp, if there are several steps."""
    return 4 * WARPS * 2 * _buffer(plan, precision) if _staged(op, precision) else 0


def _staged(op: Blocks, precision: Precision) -> bool:
    return op.fan_in > _DEPTH[precision]


def _held(plan: NetPlan, precision: Precision) -> int:
    """Samples whose sums a warp holds."""
    return min(plan.lanes, _HELD[precision])


def _pitch(plan: NetPlan, precision: Precision) -> int:
    """Floats from row to row of a buffer: rows that a warp reads at a time lie in different banks, as far as rows of
    16 bytes allow.
    """
    return _held(plan, precision) + (8 if _PACKED[precision] == 1 else 4)


def _buffer(plan: NetPlan, precision: Precision) -> int:
    """Floats of the values of a step."""
    return _DEPTH[precision] * _pitch(plan, precision)


def kernel(plan: NetPlan, op: Blocks, precision: Precision) -> tuple[str, tuple[str, ...]]:
    """CUDA text of an operation, and the keys of its arguments in order."""
    taken = arguments(plan, op)
    names = {a.key: f"{a.name}_ptr" for a in taken}
    given = ", ".join(
        f"{'float' if a is taken[-1] else 'const float'}* __restrict__ {a.name}_ptr" for a in taken
    )  # fmt: skip
    lanes, depth, jobs = plan.lanes, _DEPTH[precision], op.fan_out // ROWS
    held, staged = _held(plan, precision), _staged(op, precision)
    source, target = (_c(unit(address, "k", place)) for address, place in ((op.sources, "c"), (op.destinations, "r")))
    # Two samples that are neighbours at a time: one by one they would be halves of every sector.
    at = f"u * {lanes} + sample + n * 8 + place * 2"
    start = _start(op, names, at)
    factor, back = (f" * {_FACTOR}.0f", f" * {1 / _FACTOR}f") if precision == "fp8" else ("", "")
    lines = [
        f'extern "C" __global__ void __launch_bounds__({32 * WARPS}, {_TOGETHER}) {op.name}_kernel({given}) {{',
        f"  const int job = (int)blockIdx.x * {WARPS} + ((int)threadIdx.x >> 5);",
        f"  if (job >= {op.count * jobs}) return;",
        f"  const int k = job / {jobs}, first = job % {jobs} * {ROWS};",
        "  const int group = ((int)threadIdx.x & 31) >> 2, place = (int)threadIdx.x & 3;",
        f"  const float* __restrict__ from = {names[op.src]} + (long long)blockIdx.y * {op.units * lanes};",
        f"  float* __restrict__ to = {names[op.dst]} + (long long)blockIdx.y * {op.end.units * lanes};",
    ]
    if op.end.before:
        before = names[op.end.before]
        lines.append(f"  const float* __restrict__ so_far = {before} + (long long)blockIdx.y * {op.end.units * lanes};")
    if staged:
        lines += _staging(plan, op, precision, source)
    lines += [
        f"  const float* __restrict__ weights = {names[f'{op.name}_w']} + (long long)k * {op.fan_in * op.fan_out};",
        f"  for (int sample = 0; sample < {lanes}; sample += {held}) {{",
        f"    float sums[{held // SAMPLES}][4];",
        f"    for (int n = 0; n < {held // SAMPLES}; n++)",
        "      for (int e = 0; e < 4; e += 2) {",
        "        const int r = first + group + e * 4;",
        f"        const int u = {target};",
        f"        const float2 s = {start};",
        f"        sums[n][e] = s.x{factor}, sums[n][e + 1] = s.y{factor};",
        "      }",
        *(["    stage(turn, 0, sample);", "    copies_end();"] if staged else []),
        f"    for (int step = 0; step < {op.fan_in}; step += {depth}) {{",
        *(_arrived(plan, op, precision) if staged else _units(precision, source)),
        "      uint a[4];",
        *_fragments(op, precision, *_values(plan, precision, staged)),
        "    }",
        f"    for (int n = 0; n < {held // SAMPLES}; n++)",
        "      for (int e = 0; e < 4; e += 2) {",
        "        const int r = first + group + e * 4;",
        f"        const int u = {target};",
        "        float kept[2];",
        "        for (int h = 0; h < 2; h++) {",
        f"          const float v = sums[n][e + h]{back};",
        f"          kept[h] = {_stored(op)};",
        "        }",
        f"        *(float2*)(to + {at}) = make_float2(kept[0], kept[1]);",
        "      }",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n", tuple(a.key for a in taken)


def _staging(plan: NetPlan, op: Blocks, precision: Precision, source: str) -> list[str]:
    """Buffers, and what copies the values of a step to one of them."""
    pieces, size = _held(plan, precision) // 4, _buffer(plan, precision)
    return [
        f"  extern __shared__ __align__(16) float {op.name}_staged[];",
        f"  float* const mine = {op.name}_staged + ((int)threadIdx.x >> 5) * {2 * size};",
        "  int turn = 0;",
        "  auto stage = [=](int turn, int step, int sample) {",
        f"    for (int piece = (int)threadIdx.x & 31; piece < {_DEPTH[precision] * pieces}; piece += 32) {{",
        f"      const int row = piece / {pieces}, column = piece % {pieces} * 4, c = step + row;",
        f"      const int u = {source};",
        f"      copy_16(mine + (turn & 1) * {size} + row * {_pitch(plan, precision)} + column,",
        f"              from + u * {plan.lanes} + sample + column);",
        "    }",
        "  };",
    ]


def _arrived(plan: NetPlan, op: Blocks, precision: Precision) -> list[str]:
    """The values of a step are there for the warp, and those of the next one are sent for."""
    return [
        "      copies_wait();",
        "      __syncwarp();",
        f"      const float* const here = mine + (turn & 1) * {_buffer(plan, precision)};",
        "      ++turn;",
        f"      if (step + {_DEPTH[precision]} < {op.fan_in}) {{",
        f"        stage(turn, step + {_DEPTH[precision]}, sample);",
        "        copies_end();",
        "      }",
    ]


def _units(precision: Precision, source: str) -> list[str]:
    """Where the values of a thread lie."""
    packed = _PACKED[precision]
    return [
        f"      int units[{2 * packed}];",
        f"      for (int e = 0; e < {2 * packed}; e++) {{",
        f"        const int c = step + place * {packed} + e / {packed} * {4 * packed} + e % {packed};",
        f"        units[e] = {source};",
        "      }",
    ]


def _values(plan: NetPlan, precision: Precision, staged: bool) -> list[str]:
    """The factors of half `e` of a step for sample `b_`, in order."""
    packed = _PACKED[precision]
    if not staged:
        return [f"from[units[e * {packed} + {k}] * {plan.lanes} + b_]" for k in range(packed)]
    row = f"place * {packed} + e * {4 * packed}"
    return [f"here[({row} + {k}) * {_pitch(plan, precision)} + b_ - sample]" for k in range(packed)]


def _fragments(op: Blocks, precision: Precision, *values: str) -> list[str]:
    """Weights of a step rounded into `a`, then values of every eight samples into `b`, and their product.

    A register holds `packed` neighbouring factors; the second half of a step lies four registers behind the first.
    """
    packed = _PACKED[precision]
    factor = f" * {_FACTOR}.0f" if precision == "fp8" else ""
    weights = [
        f"weights[(step + place * {packed} + (e >> 1) * {4 * packed} + {k}) * {op.fan_out} + r]{factor}"
        for k in range(packed)
    ]
    return [
        "      for (int e = 0; e < 4; e++) {",
        "        const int r = first + group + (e & 1) * 8;",
        f"        a[e] = rounded_{precision}({', '.join(weights)});",
        "      }",
        "      for (int n = 0; n < (int)(sizeof sums / sizeof *sums); n++) {",
        "        const int b_ = sample + n * 8 + group;",
        "        uint b[2];",
        "        for (int e = 0; e < 2; e++)",
        f"          b[e] = rounded_{precision}({', '.join(values)});",
        f"        mma_{precision}(sums[n], a, b);",
        "      }",
    ]


def _start(op: Blocks, names: dict[str, str], at: str) -> str:
    """What the sums of two samples start from."""
    if op.end.init == "add":
        return f"*(const float2*)(so_far + {at})"
    bias = f"{names[f'{op.name}_b']}[u]" if op.end.init == "bias" else "0.0f"
    return f"make_float2({bias}, {bias})"


def _stored(op: Blocks) -> str:
    value = activated(op.end.activation)
    return f"u < {op.end.real} ? {value} : 0.0f" if op.end.real < op.end.units else value


def activated(call: Call | None) -> str:
    """An elementwise activation of `v` in C; NaN stays NaN."""
    if call is None:
        return "v"
    options = {key: float(value) for key, value in options_of(call).items() if isinstance(value, int | float)}
    match call.name:
        case "relu":
            return "(v < 0.0f ? 0.0f : v)"
        case "abs":
            return "(v < 0.0f ? 0.0f - v : v)"
        case "leaky":
            return f"(v > 0.0f ? v : {_number(options['slope'])} * v)"
        case "tanh":
            return "tanhf(v)"
        case "sigmoid":
            return "(1.0f / (1.0f + expf(0.0f - v)))"
        case "hardtanh":
            low, high = _number(options["low"]), _number(options["high"])
            return f"(v < {low} ? {low} : v > {high} ? {high} : v)"
        case _:
            raise ValueError(f"{call.name} is no elementwise activation")


def _number(value: float) -> str:
    """A float32 constant in C."""
    if value in (float("inf"), float("-inf")):
        return f"({'-' if value < 0 else ''}CUDART_INF_F)"
    return f"({value!r}f)"


def _c(expression: str) -> str:
    """An expression of TVMScript in C."""
    return f"({expression.replace('T.int32', '')})"
