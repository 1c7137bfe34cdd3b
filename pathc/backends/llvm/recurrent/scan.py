"""Linear recurrences h_t = a h_t-1 + u_t with constant factors, several steps at a time.

    h_t+j = a^j h_t + l_j,    l_j = a l_j-1 + u_t+j,    l_0 = 0

The sums l of a group of steps wait for no other group, and what one group hands to the next is a single multiply-add: a
processor overlaps the groups where step after step would wait for the latency of a multiply-add. The price is a second
multiply-add for each number. Source: Martin and Cundy, *Parallelizing Linear Recurrent Neural Nets Over Sequence
Length* (2018), with the scan of a group kept in registers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm.emit import I64, Function, vector
from pathc.ir.cells import Cell

_LATENCY = 4
"""Cycles from the operands of a multiply-add to its result."""
_BYTES = 32
"""Bytes that pass in a cycle between a core and its second-level cache."""
_RANGE = 30
"""Factors scanned lie between 2^-30 and 2^30, so that their powers are neither infinite nor zero."""


def scans(cell: Cell, weights: Mapping[str, NDArray[Any]], direction: int) -> bool:
    """Whether a direction of a cell is a linear recurrence whose factors have powers that can be formed.

    Infinities then spread as they do step by step. A zero stays one.
    """
    linear = cell.name == "linear" or (cell.name == "rnn" and cell.activation == "identity")
    if not linear or cell.recur.name != "diag":
        return False
    factors = np.abs(np.asarray(weights[cell.tensor(direction, "h")], np.float32))
    return bool(((factors == 0) | ((factors >= 2.0**-_RANGE) & (factors <= 2.0**_RANGE))).all())


def steps_ahead(units: int, chains: int) -> int:
    """Steps in a group for so many recurrences of `units` side by side; 1 where a group would gain nothing.

    A step takes the latency of a multiply-add unless other recurrences fill it, or the time in which its input and its
    output pass, which no order of the steps makes shorter.
    """
    passing = max(1.0, 8 * units * chains / _BYTES)
    return 1 if chains > 1 else max(1, math.floor(_LATENCY / passing))


@dataclass(frozen=True)
class Scanned:
    """Where the groups leave off: the state, the places in x and y, and the steps that are left, at least one."""

    state: str
    x: str
    y: str
    left: str


@dataclass(frozen=True)
class Scan:
    """Writer of the groups of `ahead` steps over a vector of units."""

    f: Function
    lanes: int
    ahead: int
    load: Callable[[str], str]
    store: Callable[[str, str], None]

    def groups(self, factor: str, state: str, x: str, y: str) -> Scanned:
        """Write all whole groups in front of the last step; x and y are where the input and output of a step lie."""
        f, kind, lanes = self.f, vector(self.lanes), self.lanes
        powers = [factor]
        while len(powers) < self.ahead:
            powers.append(f.op("fmul", kind, powers[-1], factor))
        rounds = f.op("udiv", I64, f.op("sub", I64, "%steps", "1"), str(self.ahead))
        label, before = f.fresh("scan")[1:], f.block
        some = f.assign(f"icmp ne i64 {rounds}, 0")
        f.line(f"br i1 {some}, label %{label}.some, label %{label}.end")
        f.label(f"{label}.some")
        carried = [(kind, state), ("ptr", x), ("ptr", y)]
        with f.loop(rounds, carried) as loop:
            held, read, written = loop.carried
            total = now = ""
            for power in powers:
                given = self.load(read)
                total = f.fma(lanes, factor, total, given) if total else given
                now = f.fma(lanes, power, held, total)
                self.store(now, written)
                read, written = f.offset(read, "%x_step"), f.offset(written, "%y_step")
            loop.following = [now, read, written]
        after = f.block
        f.line(f"br label %{label}.end")
        f.label(f"{label}.end")
        state, x, y = (f.assign(f"phi {of} [ {first}, %{before} ], [ {last}, %{after} ]")
                       for (of, first), last in zip(carried, loop.results, strict=True))  # fmt: skip
        left = f.op("sub", I64, "%steps", f.op("mul", I64, rounds, str(self.ahead)))
        return Scanned(state, x, y, left)
