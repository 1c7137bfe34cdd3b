"""Dense blocks on tensor cores: CUDA text of kernels whose products are `mma` instructions, sums in float32.

A warp holds 16 destinations of a block for up to 64 samples; every step multiplies 16 x K weights with K x 8 values
read at their XOR addresses and rounded on the way: tf32 (m16n8k8), bf16 and fp16 (m16n8k16), fp8 (m16n8k32, e4m3).
Which thread holds which elements is laid down in the PTX ISA, section "Matrix fragments for mma". These kernels are
written as text, as a schedule has no say in the layout of fragments.
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
_DEPTH = {"tf32": 8, "bf16": 16, "fp16": 16, "fp8": 32}
_PACKED = {"tf32": 1, "bf16": 2, "fp16": 2, "fp8": 4}
"""Factors of a register."""
_FACTOR = 16
"""Weights of fp8 are so many times larger when they are rounded: it has few steps below 1/64."""
FP8_FROM = 89
"""The first architecture with products of fp8."""
_HELD = {"tf32": 64, "bf16": 64, "fp16": 64, "fp8": 32}
"""Samples whose sums a warp holds at most: the units of a step take registers, too."""

PRELUDE = r"""#ifdef __CUDACC__
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
"""Roundings and products; where the text is not compiled for a GPU, others must be given."""


def fits(plan: NetPlan, op: Op, precision: Precision) -> bool:
    """Whether an operation can be computed this way: whole instructions in every direction."""
    if not isinstance(op, Blocks) or plan.fused:
        return False
    return op.fan_out % ROWS == 0 and op.fan_in % _DEPTH[precision] == 0 and plan.lanes % SAMPLES == 0


def grid(op: Blocks) -> tuple[str, str, str]:
    """Blocks of threads in x, y and z."""
    return str(-(-op.count * (op.fan_out // ROWS) // WARPS)), "tiles", "1"


def kernel(plan: NetPlan, op: Blocks, precision: Precision) -> tuple[str, tuple[str, ...]]:
    """CUDA text of an operation, and the keys of its arguments in order."""
    taken = arguments(plan, op)
    names = {a.key: f"{a.name}_ptr" for a in taken}
    given = ", ".join(
        f"{'float' if a is taken[-1] else 'const float'}* __restrict__ {a.name}_ptr" for a in taken
    )  # fmt: skip
    lanes, depth, jobs = plan.lanes, _DEPTH[precision], op.fan_out // ROWS
    held = min(lanes, _HELD[precision])
    source, target = (_c(unit(address, "k", place)) for address, place in ((op.sources, "c"), (op.destinations, "r")))
    start = _start(op, names)
    factor, back = (f" * {_FACTOR}.0f", f" * {1 / _FACTOR}f") if precision == "fp8" else ("", "")
    lines = [
        f'extern "C" __global__ void __launch_bounds__({32 * WARPS}) {op.name}_kernel({given}) {{',
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
    lines += [
        f"  const float* __restrict__ weights = {names[f'{op.name}_w']} + (long long)k * {op.fan_in * op.fan_out};",
        f"  for (int sample = 0; sample < {lanes}; sample += {held}) {{",
        f"    float sums[{held // SAMPLES}][4];",
        f"    for (int n = 0; n < {held // SAMPLES}; n++)",
        "      for (int e = 0; e < 4; e++) {",
        "        const int r = first + group + (e >> 1) * 8;",
        f"        const int u = {target}, at = u * {lanes} + sample + n * 8 + place * 2 + (e & 1);",
        f"        sums[n][e] = {start}{factor};",
        "        (void)at;",
        "      }",
        f"    for (int step = 0; step < {op.fan_in}; step += {depth}) {{",
        "      uint a[4];",
        f"      int units[{2 * _PACKED[precision]}];",
        *_fragments(op, lanes, precision, source),
        "    }",
        f"    for (int n = 0; n < {held // SAMPLES}; n++)",
        "      for (int e = 0; e < 4; e++) {",
        "        const int r = first + group + (e >> 1) * 8;",
        f"        const int u = {target};",
        f"        const float v = sums[n][e]{back};",
        f"        to[u * {lanes} + sample + n * 8 + place * 2 + (e & 1)] = {_stored(op)};",
        "      }",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n", tuple(a.key for a in taken)


def _fragments(op: Blocks, lanes: int, precision: Precision, source: str) -> list[str]:
    """Weights of a step rounded into `a`, then values of every eight samples into `b`, and their product.

    A register holds `packed` neighbouring factors; the second half of a step lies four registers behind the first.
    """
    packed = _PACKED[precision]
    factor = f" * {_FACTOR}.0f" if precision == "fp8" else ""
    weights = [
        f"weights[(step + place * {packed} + (e >> 1) * {4 * packed} + {k}) * {op.fan_out} + r]{factor}"
        for k in range(packed)
    ]
    values = [f"from[units[e * {packed} + {k}] * {lanes} + b_]" for k in range(packed)]
    return [
        f"      for (int e = 0; e < {2 * packed}; e++) {{",
        f"        const int c = step + place * {packed} + e / {packed} * {4 * packed} + e % {packed};",
        f"        units[e] = {source};",
        "      }",
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


def _start(op: Blocks, names: dict[str, str]) -> str:
    if op.end.init == "bias":
        return f"{names[f'{op.name}_b']}[u]"
    return "so_far[at]" if op.end.init == "add" else "0.0f"


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
