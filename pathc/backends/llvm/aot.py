"""Ahead of time: LLVM IR, assembly, object, shared library, C header and a C program that calls it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.call import BY_ROWS
from pathc.backends.llvm.jit import emit_assembly, emit_object
from pathc.backends.llvm.machine import TILES_PLEASE, Machine, host
from pathc.backends.llvm.netplan import Order, Orders
from pathc.support.diagnostics import Diagnostic, UnavailableError, did_you_mean, error
from pathc.support.files import write_atomically
from pathc.support.source import Loc

KINDS = ("ll", "s", "o", "so", "h", "c", "params")
"""What can be written; each is the suffix of its file."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_C_WORDS = (
    "auto break case char const continue default do double else enum extern float for goto if inline int long main "
    "register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while"
)
_SERIAL = """
define weak void @pathc_parallel(ptr %fn, ptr %context, i64 %tasks) {
entry:
  %some = icmp ne i64 %tasks, 0
  br i1 %some, label %loop, label %end
loop:
  %task = phi i64 [ 0, %entry ], [ %next, %loop ]
  call void %fn(ptr %context, i64 %task, i64 0)
  %next = add i64 %task, 1
  %more = icmp ult i64 %next, %tasks
  br i1 %more, label %loop, label %end
end:
  ret void
}
"""
_ARGUMENTS = ", ".join(f"i64 {number}" for number in TILES_PLEASE)
_TILES = f"""
@pathc_please = internal constant ptr @pathc_tiles, section ".init_array", align 8
@llvm.used = appending global [1 x ptr] [ptr @pathc_please], section "llvm.metadata"
define internal void @pathc_tiles() nounwind {{
  %a = call i64 asm sideeffect "syscall", "={{rax}},{{rax}},{{rdi}},{{rsi}},~{{rcx}},~{{r11}},~{{memory}}"({_ARGUMENTS})
  ret void
}}
"""
"""Asks the system for tile registers when a program starts or loads the code."""


@dataclass(frozen=True, eq=False)
class Program:
    """A net as text, for any machine: IR that exports `name` with the signature of kernels (see call.py).

    `params` are the packed weights, `scratch` the bytes one call needs, both wanted at multiples of 64 bytes.
    `orders` says how x and y lie in memory.
    """

    name: str
    ir: str
    machine: Machine
    inputs: int
    outputs: int
    params: NDArray[Any]
    scratch: int = 0
    orders: Orders = BY_ROWS

    @property
    def complete_ir(self) -> str:
        """The IR with a serial `pathc_parallel` where the kernel asks for one; a program may define its own.

        Code with tile registers asks for them when it is loaded.
        """
        declared = re.sub(r"^declare [^\n]*@pathc_parallel\([^\n]*\n", "", self.ir, flags=re.MULTILINE)
        whole = self.ir if declared == self.ir else declared + _SERIAL
        return whole + _TILES if "@llvm.x86.ldtilecfg" in whole else whole


def write(program: Program, folder: str | Path, kinds: Iterable[str] = KINDS) -> list[Path]:
    """Write the chosen kinds as `folder/NAME.kind`; every file appears whole or not at all.

    Raises E0608 (unknown kind, or a name C cannot spell), E0605 (`so` without a C compiler; exit code 3), E0606
    (the linker failed), E0503 (a file cannot be written).
    """
    kinds = tuple(kinds)
    for kind in kinds:
        if kind not in KINDS:
            raise error("E0608", f"`{kind}` cannot be written", help=did_you_mean(kind, KINDS) or ", ".join(KINDS))
    if not _IDENTIFIER.fullmatch(program.name) or program.name in _C_WORDS.split():
        raise error("E0608", f"`{program.name}` is no name in C", help="use letters, digits and underscores")
    linker = _linker(program.machine) if "so" in kinds else ""
    code = emit_object(program.complete_ir, program.machine) if {"o", "so"} & set(kinds) else b""
    written: list[Path] = []
    for kind in kinds:
        path = Path(folder) / f"{program.name}.{kind}"
        if kind == "so":
            write_atomically(path, _linked(linker, program.name, code))
            path.chmod(0o755)
        else:
            write_atomically(path, code if kind == "o" else text(program, kind))
        written.append(path)
    return written


def without_plan(program: Callable[[], Program], kind: str, what: str, loc: Loc | None) -> str | bytes:
    """A stage of a net that has no plan as text or bytes; raises E0804 for `plan`, where `what` names such nets."""
    if kind == "plan":
        help = f"{what} show `ll`, `asm`, `o`, `so`, `h`, `c` and `params`"
        raise error("E0804", f"{what} have no stage `plan`", loc, help=help)
    return text(program(), {"asm": "s"}.get(kind, kind))


def text(program: Program, kind: str) -> str | bytes:
    """The contents of a file of kind ll, s, h, c (text), o, so or params (bytes); raises E0605 and E0606 for so."""
    if kind == "ll":
        return program.complete_ir
    if kind == "s":
        return emit_assembly(program.complete_ir, program.machine)
    if kind == "h":
        return header(program)
    if kind == "c":
        return example(program)
    if kind in ("o", "so"):
        linker = _linker(program.machine) if kind == "so" else ""
        code = emit_object(program.complete_ir, program.machine)
        return _linked(linker, program.name, code) if linker else code
    return np.ascontiguousarray(program.params).tobytes()


def header(program: Program) -> str:
    """The C header of a program."""
    name, upper = program.name, program.name.upper()
    return f"""#ifndef {upper}_H
#define {upper}_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {upper}_INPUTS {program.inputs}
#define {upper}_OUTPUTS {program.outputs}
#define {upper}_PARAMS_BYTES {program.params.nbytes}
#define {upper}_SCRATCH_BYTES {program.scratch}
#define {upper}_ALIGNMENT 64

/* Made for {program.machine}.
 * {_lying("x", program.inputs, program.orders[0])}
 * {_lying("y", program.outputs, program.orders[1])}
 * x and y do not overlap. params is the contents of {name}.params; params and scratch start at multiples of 64
 * bytes. Calls on several threads need scratch of their own and share everything else.
 */
void {name}(const float *x, float *y, const void *params, void *scratch,
{" " * (len(name) + 6)}int64_t batch, int64_t x_stride, int64_t y_stride);

#ifdef __cplusplus
}}
#endif

#endif
"""


def _lying(array: str, units: int, order: Order) -> str:
    """How an array lies in memory, for a reader of C."""
    if order == "units":
        return f"{array}: {units} rows of batch floats, units first, {array}_stride floats from row to row."
    return f"{array}: batch rows of {units} floats, {array}_stride floats from row to row."


def example(program: Program) -> str:
    """A C program that reads the parameters, runs two samples and prints the outputs, one per line."""
    name, upper = program.name, program.name.upper()
    x_stride, y_stride = (
        "BATCH" if order == "units" else f"{upper}_{end}"
        for end, order in zip(("INPUTS", "OUTPUTS"), program.orders, strict=True)
    )
    unit, sample = f"i % {upper}_INPUTS", f"i / {upper}_INPUTS"
    into = f"({unit}) * BATCH + {sample}" if program.orders[0] == "units" else "i"
    unit, sample = f"i % {upper}_OUTPUTS", f"i / {upper}_OUTPUTS"
    out = f"({unit}) * BATCH + {sample}" if program.orders[1] == "units" else "i"
    return f"""/* cc -O2 -o {name}_example {name}.c {name}.o -lm && ./{name}_example {name}.params */
#include <stdio.h>
#include <stdlib.h>

#include "{name}.h"

enum {{ BATCH = 2 }};

static void *room(size_t bytes) {{
    size_t whole = (bytes + {upper}_ALIGNMENT) / {upper}_ALIGNMENT * {upper}_ALIGNMENT;
    void *memory = aligned_alloc({upper}_ALIGNMENT, whole);
    if (!memory) {{
        fputs("out of memory\\n", stderr);
        exit(1);
    }}
    return memory;
}}

int main(int count, char **arguments) {{
    const char *path = count > 1 ? arguments[1] : "{name}.params";
    void *params = room({upper}_PARAMS_BYTES), *scratch = room({upper}_SCRATCH_BYTES);
    float *x = room(sizeof(float) * BATCH * {upper}_INPUTS), *y = room(sizeof(float) * BATCH * {upper}_OUTPUTS);
    FILE *file = fopen(path, "rb");
    if (!file || fread(params, 1, {upper}_PARAMS_BYTES, file) != {upper}_PARAMS_BYTES) {{
        fprintf(stderr, "cannot read %s\\n", path);
        return 1;
    }}
    fclose(file);
    for (int i = 0; i < BATCH * {upper}_INPUTS; i++)
        x[{into}] = (float)(i % 7) / 7.0f;
    {name}(x, y, params, scratch, BATCH, {x_stride}, {y_stride});
    for (int i = 0; i < BATCH * {upper}_OUTPUTS; i++)
        printf("%.9g\\n", y[{out}]);
    return 0;
}}
"""


def _linker(machine: Machine) -> str:
    native = machine.arch == host().arch
    names = ("cc", "gcc", "clang") if native else (f"{machine.arch}-linux-gnu-gcc",)
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    package = "gcc" if native else f"gcc-{machine.arch.replace('_', '-')}-linux-gnu"
    raise UnavailableError(
        Diagnostic(
            "E0605",
            f"a shared library for {machine.arch} needs a C compiler, and {' or '.join(names)} is not here",
            help=f"apt-get install {package}, or write the object (`o`) and link it elsewhere",
        )
    )


def _linked(linker: str, name: str, code: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / f"{name}.o", Path(folder) / f"{name}.so"
        source.write_bytes(code)
        command = [linker, "-shared", "-o", os.fspath(target), os.fspath(source), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not target.exists():
            raise error("E0606", f"`{linker}` could not link {name}.so: {done.stderr.strip()[:500]}")
        return target.read_bytes()
