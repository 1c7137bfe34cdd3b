"""A net as another machine is sent it: a library, its functions, and the arrays they take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from numpy.typing import NDArray

from pathc.backends.tvm import facade
from pathc.backends.tvm.compiled import Lowered
from pathc.backends.tvm.recurrent.plan import SequencePlan
from pathc.backends.tvm.tir import Function

Kind = Literal["cpu", "cuda"]
RUN = "run"
"""The function that computes a whole net."""


@dataclass(frozen=True)
class Call:
    """A function of a library with the names of its arrays in order, and the numbers it takes: `batch`, `steps/64`."""

    function: str
    arrays: tuple[str, ...]
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shipped:
    """A net ready to be sent.

    `run` computes it; `operations` are the functions that it consists of, by their names in the plan. Functions for a
    GPU take numbers before arrays, those for a processor behind them. Buffers are [tiles, units, lanes], `arrays`
    [rows, columns] and `states` [batch, numbers], zero at first, all float32; rows are samples, or the steps of all
    `sequences`.
    """

    kind: Kind
    library: bytes
    run: Call
    operations: Mapping[str, Call]
    lanes: int
    inputs: int
    outputs: int
    parameters: Mapping[str, NDArray[Any]]
    buffers: tuple[tuple[str, int], ...]
    arrays: tuple[tuple[str, int], ...] = ()
    states: tuple[tuple[str, int], ...] = ()
    sequences: bool = False

    def shapes(self, batch: int, steps: int = 1) -> dict[str, tuple[int, ...]]:
        """Shapes of inputs, outputs, buffers, arrays and states by name."""
        numbers = self.numbers(batch, steps)
        rows, tiles = numbers["rows"], numbers["tiles"]
        found = {name: (rows, size) for name, size in (("x", self.inputs), ("y", self.outputs), *self.arrays)}
        found |= {name: (batch, size) for name, size in self.states}
        return found | {name: (tiles, units, self.lanes) for name, units in self.buffers}

    def numbers(self, batch: int, steps: int = 1) -> dict[str, int]:
        """What the numbers of calls are made of."""
        rows = batch * steps
        return {"batch": batch, "steps": steps, "rows": rows, "tiles": -(-rows // self.lanes)}


Measure = Callable[[Shipped], Mapping[str, float]]
"""Seconds of every operation of a net by name, on whatever device."""


@runtime_checkable
class Shippable(Protocol):
    """An executable that can be sent to another machine, and tuned there."""

    def shipped(self, batch: int) -> Shipped:
        """What serves a batch."""
        ...

    def tuned(self, batch: int, measure: Measure | None = None, device: str = "") -> Shippable:
        """The net with the split factors that were fastest and are kept: measured here, or by `measure` elsewhere."""
        ...


def run_call(calls: Iterable[Call]) -> Call:
    """The call of `run`: all arrays and numbers of the calls, in the order in which they first appear."""
    calls = tuple(calls)
    arrays = dict.fromkeys(name for call in calls for name in call.arrays)
    return Call(RUN, tuple(arrays), tuple(dict.fromkeys(number for call in calls for number in call.numbers)))


def calls_of(functions: Sequence[Function]) -> dict[str, Call]:
    """The calls of TIR's functions by name."""
    return {f.name: Call(f.name, tuple(a.key for a in f.arguments), tuple(map(f.called, f.scalars))) for f in functions}


def run_text(calls: Iterable[Call]) -> str:
    """The function `run` in C, which calls the functions that TVM compiled one after the other."""
    calls = tuple(calls)
    whole = run_call(calls)
    place = {name: at for at, name in enumerate((*whole.arrays, *whole.numbers))}
    lines = [
        "typedef struct { int kind, padding; long long value; } Any;",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
    ]
    lines += [f"int __tvm_ffi_{call.function}(void*, const Any*, int, Any*);" for call in calls]
    lines.append("void TVMFFIErrorSetRaisedFromCStr(const char*, const char*);")
    lines.append(f"int __tvm_ffi_{RUN}(void* self, const Any* given, int count, Any* result) {{")
    lines.append(f"  if (count != {len(place)}) {{")
    lines.append(f'    TVMFFIErrorSetRaisedFromCStr("TypeError", "`{RUN}` takes {len(place)} arguments");')
    lines += ["    return -1;", "  }"]
    for call in calls:
        taken = [f"given[{place[name]}]" for name in (*call.arrays, *call.numbers)]
        lines.append(f"  {{ const Any some[] = {{{', '.join(taken)}}};")
        lines.append(f"    if (__tvm_ffi_{call.function}(self, some, {len(taken)}, result)) return -1; }}")
    return "\n".join([*lines, "  return 0;", "}", "#ifdef __cplusplus", "}", "#endif", ""])


def library_of(lowered: Lowered, cpu: str) -> bytes:
    """The functions of a plan for a processor, and `run`; E0670 without a C compiler."""
    return facade.cpu_library(lowered.schedule.module, cpu, run_text(calls_of(lowered.functions).values()))


def for_processor(lowered: Lowered, parameters: Mapping[str, NDArray[Any]], cpu: str) -> Shipped:
    """A plan for a processor as another machine is sent it."""
    plan, calls, library = lowered.plan, calls_of(lowered.functions), library_of(lowered, cpu)
    sizes, whole = (plan.lanes, plan.inputs, plan.outputs), run_call(calls.values())
    if isinstance(plan, SequencePlan):
        held = plan.kept, plan.arrays, plan.states
        return Shipped("cpu", library, whole, calls, *sizes, parameters, *held, sequences=True)
    arrays = tuple(plan.filters.arrays.items()) if plan.filters else ()
    return Shipped("cpu", library, whole, calls, *sizes, parameters, plan.kept, arrays)
