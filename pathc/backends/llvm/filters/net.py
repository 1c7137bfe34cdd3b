"""A plan as LLVM IR: its kernels, and the function that runs them for every sample of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.emit import I64, Function, module
from pathc.backends.llvm.ends import repeated
from pathc.backends.llvm.filters.mix import emit_mix, packed, sizes_of
from pathc.backends.llvm.filters.move import constants_of, emit_move
from pathc.backends.llvm.filters.plan import Across, FilterPlan, Mix, Op, Planes
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.native import aligned
from pathc.backends.llvm.net import SIGNATURE, net_functions
from pathc.backends.llvm.netplan import NetPlan

_LINE = 64


def emit_filters(plan: FilterPlan, machine: Machine, name: str) -> str:
    """The IR of a plan that exports `name`, with the signature of every net."""
    functions, constants = _functions(plan, machine, name, internal=False)
    return module(functions, machine.triple, constants)


@dataclass(frozen=True)
class Behind:
    """The flat net behind the filters: its plan for one sample, and where its memory begins, in bytes.

    `values` is where what the filters hand over lies in scratch memory, `scratch` its own, `params` its parameters.
    """

    plan: NetPlan
    values: int
    scratch: int
    params: int


def emit_whole(plan: FilterPlan, behind: Behind, machine: Machine, name: str) -> str:
    """The IR of filters and the flat net behind them as one function, sample after sample."""
    functions, constants = _functions(plan, machine, f"{name}.filters", internal=True)
    functions.extend(net_functions(behind.plan, machine, f"{name}.flat", (1,), internal=True))
    f = Function(name, SIGNATURE, internal=False)
    one = [(I64, "1"), (I64, str(plan.inputs)), (I64, str(behind.plan.outputs))]
    values, scratch, params = (
        f.offset(f"%{base}", at, "i8")
        for base, at in (("scratch", behind.values), ("scratch", behind.scratch), ("params", behind.params))
    )
    with repeated(f, "%batch") as index:
        x, y = (f.offset(f"%{end}", f.op("mul", I64, index, f"%{end}_stride")) for end in "xy")
        given = [("ptr", x), ("ptr", values), ("ptr", "%params"), ("ptr", "%scratch")]
        f.call("void", f"{name}.filters", [*given, *one], declare=False)
        given = [("ptr", values), ("ptr", y), ("ptr", params), ("ptr", scratch)]
        f.call("void", f"{name}.flat", [*given, *one], declare=False)
    return module([*functions, f], machine.triple, constants)


def _functions(plan: FilterPlan, machine: Machine, name: str, *, internal: bool) -> tuple[list[Function], list[str]]:
    """Kernels and the function that runs them, the last one, with the constants they refer to."""
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
    functions.append(_entry(plan, name, calls, internal))
    return functions, constants


def _entry(plan: FilterPlan, name: str, calls: list[tuple[str, Op, int]], internal: bool) -> Function:
    f = Function(name, SIGNATURE, internal=internal)
    parts: list[tuple[str, str]] = []
    for _, _, at in calls:
        table, weights = (f.load(I64, f.offset("%params", 2 * at + k, I64), 8) for k in (0, 1))
        parts.append((f.offset("%params", table, "i8"), f.offset("%params", weights, "i8")))
    with repeated(f, "%batch") as index:
        bases = {
            "x": f.offset("%x", f.op("mul", I64, index, "%x_stride")),
            "y": f.offset("%y", f.op("mul", I64, index, "%y_stride")),
            "scratch": "%scratch",
        }

        def where(planes: Planes) -> str:
            return f.offset(bases[planes.base], planes.at)

        for (own, op, _), (table, weights) in zip(calls, parts, strict=True):
            source, target = (op.planes, op.planes) if isinstance(op, Across) else (op.src, op.dst)
            given = [("ptr", where(source)), ("ptr", where(target)), ("ptr", table), ("ptr", weights)]
            f.call("void", own, given, declare=False)
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
