"""A net as another machine is sent it: a library, its functions, and the arrays they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from numpy.typing import NDArray

from pathc.backends.tvm.tir import Function

Kind = Literal["cpu", "cuda"]
RUN = "run"
"""The function that computes a whole net."""


@dataclass(frozen=True)
class Call:
    """A function of a library with the names of its arrays in order."""

    function: str
    arrays: tuple[str, ...]


@dataclass(frozen=True)
class Shipped:
    """A net ready to be sent.

    `run` computes it; `operations` are its parts by the names of the plan's operations. Functions for a GPU take the
    number of samples before their arrays. Buffers are [tiles, units, lanes], float32.
    """

    kind: Kind
    library: bytes
    run: Call
    operations: Mapping[str, Call]
    lanes: int
    inputs: int
    outputs: int
    buffers: tuple[tuple[str, int], ...]
    parameters: Mapping[str, NDArray[Any]]

    def shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Shapes of inputs, outputs and buffers by name."""
        tiles = -(-batch // self.lanes)
        ends = {"x": (batch, self.inputs), "y": (batch, self.outputs)}
        return ends | {name: (tiles, units, self.lanes) for name, units in self.buffers}


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


def run_call(calls: Sequence[Call]) -> Call:
    """The call of `run`: every array that any of the calls takes, in the order in which they first appear."""
    return Call(RUN, tuple(dict.fromkeys(name for call in calls for name in call.arrays)))


def calls_of(functions: Sequence[Function]) -> dict[str, Call]:
    """The calls of TIR's functions by name."""
    return {f.name: Call(f.name, tuple(a.key for a in f.arguments)) for f in functions}


def run_text(calls: Sequence[Call]) -> str:
    """The function `run` in C, which calls the functions that TVM compiled one after the other."""
    whole = run_call(calls)
    place = {name: at for at, name in enumerate(whole.arrays)}
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
    lines.append(f'    TVMFFIErrorSetRaisedFromCStr("TypeError", "`{RUN}` takes {len(place)} arrays");')
    lines += ["    return -1;", "  }"]
    for call in calls:
        some = ", ".join(f"given[{place[name]}]" for name in call.arrays)
        lines.append(f"  {{ const Any some[] = {{{some}}};")
        lines.append(f"    if (__tvm_ffi_{call.function}(self, some, {len(call.arrays)}, result)) return -1; }}")
    return "\n".join([*lines, "  return 0;", "}", "#ifdef __cplusplus", "}", "#endif", ""])
