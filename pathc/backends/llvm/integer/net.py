"""A plan as LLVM IR and its parameters: tiles of samples where there are many, else one sample after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.emit import I64, Function, module
from pathc.backends.llvm.ends import repeated
from pathc.backends.llvm.integer.many import ManySamples
from pathc.backends.llvm.integer.one import OneSample
from pathc.backends.llvm.integer.plan import Plan
from pathc.backends.llvm.net import SIGNATURE
from pathc.backends.llvm.writer import Kernels, Parameters, Room


@dataclass(frozen=True)
class Program:
    """Functions, the last one the net, its parameters, and the bytes of scratch memory of one call."""

    functions: tuple[Function, ...]
    triple: str
    parameters: NDArray[np.uint8]
    scratch: int

    @property
    def ir(self) -> str:
        """The functions as a module."""
        return module(self.functions, self.triple)


def emit_integers(plan: Plan, name: str, *, internal: bool = False) -> Program:
    """The program of a plan whose last function is `name`, with the signature of every net, exported or `internal`."""
    parameters, kernels = Parameters(), Kernels(f"{name}.kernel")
    rooms = Room(), Room()
    weights = {step.station.station.name: parameters.put(step.weights) for step in plan.steps}
    one = OneSample(f"{name}.one", parameters, rooms[0], kernels, plan, weights).write()
    many = ManySamples(f"{name}.many", parameters, rooms[1], kernels, plan, weights).write()
    f = Function(name, SIGNATURE, internal=internal)
    tile = plan.tile

    def samples(first: str) -> list[tuple[str, str]]:
        ends = [("ptr", f.offset(f"%{end}", f.op("mul", I64, first, f"%{end}_stride"))) for end in "xy"]
        return [*ends, ("ptr", "%params"), ("ptr", "%scratch")]

    strides = [(I64, "%x_stride"), (I64, "%y_stride")]
    whole, rest = f.op("udiv", I64, "%batch", str(tile)), f.op("urem", I64, "%batch", str(tile))
    with repeated(f, whole) as index:
        given = samples(f.op("mul", I64, index, str(tile)))
        f.call("void", many.name, [*given, *strides, (I64, str(tile))], declare=False)
    done = f.op("mul", I64, whole, str(tile))
    full = f.assign(f"icmp ugt i64 {rest}, {tile // 2}")
    with repeated(f, f.assign(f"zext i1 {full} to i64")):
        f.call("void", many.name, [*samples(done), *strides, (I64, rest)], declare=False)
    with repeated(f, f.assign(f"select i1 {full}, i64 0, i64 {rest}")) as index:
        f.call("void", one.name, samples(f.op("add", I64, done, index)), declare=False)
    functions = *kernels.functions.values(), one, many, f
    return Program(functions, plan.machine.triple, parameters.packed(), max(room.size for room in rooms))
