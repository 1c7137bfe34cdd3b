"""A plan as LLVM IR: its kernels, and the function that runs them for every sample of a batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.emit import I64, Function, module
from pathc.backends.llvm.filters.mix import emit_mix, packed, sizes_of
from pathc.backends.llvm.filters.move import constants_of, emit_move
from pathc.backends.llvm.filters.plan import Across, FilterPlan, Mix, Op, Planes
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.native import aligned
from pathc.backends.llvm.net import SIGNATURE

_LINE = 64


def emit_filters(plan: FilterPlan, machine: Machine, name: str) -> str:
    """The IR of a plan that exports `name`, with the signature of every net."""
    functions: list[Function] = []
    constants: list[str] = []
    calls: list[tuple[str, Op, int]] = []
    for number, op in enumerate(plan.ops):
        if isinstance(op, Mix):
            for size, chunks in sizes_of(op):
                own = f"mix{number}_{size}"
                made, needed = emit_mix(own, op, size, len(chunks), machine)
                functions.append(made)
                constants.extend(needed)
                calls.append((own, op, len(calls)))
        else:
            own = f"{type(op).__name__.lower()}{number}"
            made, needed = emit_move(own, op, machine)
            functions.append(made)
            constants.extend(needed)
            calls.append((own, op, len(calls)))
    functions.append(_entry(plan, name, calls))
    return module(functions, machine.triple, constants)


def _entry(plan: FilterPlan, name: str, calls: list[tuple[str, Op, int]]) -> Function:
    f = Function(name, SIGNATURE, internal=False)
    some = f.assign("icmp ne i64 %batch, 0")
    f.line(f"br i1 {some}, label %samples, label %end")
    f.label("samples")
    parts: list[tuple[str, str]] = []
    for _, _, at in calls:
        table, weights = (f.load(I64, f.offset("%params", 2 * at + k, I64), 8) for k in (0, 1))
        parts.append((f.offset("%params", table, "i8"), f.offset("%params", weights, "i8")))
    with f.loop("%batch") as samples:
        bases = {
            "x": f.offset("%x", f.op("mul", I64, samples.index, "%x_stride")),
            "y": f.offset("%y", f.op("mul", I64, samples.index, "%y_stride")),
            "scratch": "%scratch",
        }

        def where(planes: Planes) -> str:
            return f.offset(bases[planes.base], planes.at)

        for (own, op, _), (table, weights) in zip(calls, parts, strict=True):
            source, target = (op.planes, op.planes) if isinstance(op, Across) else (op.src, op.dst)
            given = [("ptr", where(source)), ("ptr", where(target)), ("ptr", table), ("ptr", weights)]
            f.call("void", own, given, declare=False)
        samples.following = []
    f.line("br label %end")
    f.label("end")
    return f


def pack_filters(plan: FilterPlan) -> NDArray[np.uint8]:
    """Parameters of a plan: where the table and the weights of each kernel lie, in bytes, then these."""
    parts: list[NDArray[np.uint8]] = []
    for op in plan.ops:
        if isinstance(op, Mix):
            for _, chunks in sizes_of(op):
                parts.extend(part.view(np.uint8) for part in packed(op, chunks))
        else:
            parts.extend((np.zeros(0, np.uint8), constants_of(op).view(np.uint8)))
    places = np.zeros(len(parts), np.int64)
    at = -(-places.nbytes // _LINE) * _LINE
    for k, part in enumerate(parts):
        places[k] = at
        at += -(-part.nbytes // _LINE) * _LINE
    whole = aligned(at)
    whole[:] = 0
    whole[: places.nbytes] = places.view(np.uint8)
    for place, part in zip(places.tolist(), parts, strict=True):
        whole[place : place + part.nbytes] = part
    return whole
