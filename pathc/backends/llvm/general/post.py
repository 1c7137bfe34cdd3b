"""Activations that look at all units of a station, in place on one row buffer in natural order."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.emit import F32, I64, Function, constant, vector
from pathc.backends.llvm.general.rows import shuffled
from pathc.backends.llvm.machine import Machine
from pathc.ir.catalogue import options_of
from pathc.ir.types import Call

_IN_REGISTERS = 8
_SIGN = -(1 << 31)
Combine = Callable[[str, str], str]


def emit_post(name: str, machine: Machine, units: int, call: Call) -> Function:
    """The kernel `void name(ptr buffer)` that applies an activation to `units` floats in place.

    softmax: exponentials that sum to one, the largest value subtracted first; a NaN anywhere makes all NaN.
    kwinners keeps the k largest, among equals the lower unit, a NaN being the largest of all, and clears the
    others. Anything else is elementwise (ValueError if unknown). What lies behind the units stays zero.
    """
    f = Function(name, (("ptr", "buffer"),))
    lanes = machine.width
    if call.name == "softmax":
        _softmax(f, lanes, units)
    elif call.name == "kwinners":
        k = options_of(call)["k"]
        if not isinstance(k, int) or k < 1:
            raise ValueError("kwinners takes a positive number as k")
        if k < units:
            _winners(f, lanes, units, k)
    else:
        _each(f, lanes, units, lambda at, tail: _elementwise(f, lanes, at, tail, call, machine))
    return f


def _elementwise(f: Function, lanes: int, at: str, tail: int, call: Call, machine: Machine) -> None:
    value = vecmath.apply(f, lanes, _load(f, lanes, at, tail, 0.0), call, machine)
    _store(f, lanes, value, at, tail)


def _each(f: Function, lanes: int, units: int, body: Callable[[str, int], None]) -> None:
    """`body` at the address of every vector; its second argument is the number of units, 0 for a whole vector."""
    whole = units // lanes * lanes
    if whole:
        with f.loop(whole, step=lanes) as loop:
            body(f.offset("%buffer", loop.index), 0)
    if whole < units:
        body(f.offset("%buffer", whole), units - whole)


def _folded(f: Function, lanes: int, units: int, start: tuple[str, str], body: Callable[[str, int, str], str]) -> str:
    """What `body` makes of a carried value of the type and start given, vector after vector."""
    kind, value = start
    whole = units // lanes * lanes
    if whole:
        with f.loop(whole, [(kind, value)], step=lanes) as loop:
            loop.following = [body(f.offset("%buffer", loop.index), 0, loop.carried[0])]
        (value,) = loop.results
    if whole < units:
        value = body(f.offset("%buffer", whole), units - whole, value)
    return value


def _load(f: Function, lanes: int, at: str, tail: int, behind: float) -> str:
    """A vector of units; the lanes behind the last unit hold `behind`."""
    kind = vector(lanes)
    value = f.load(kind, at)
    if not tail:
        return value
    rest = constant(behind, lanes)
    return f.assign(shuffled(kind, value, rest, [i if i < tail else lanes for i in range(lanes)]))


def _store(f: Function, lanes: int, value: str, at: str, tail: int) -> None:
    kind = vector(lanes)
    if tail:
        value = f.assign(shuffled(kind, value, "zeroinitializer", [i if i < tail else lanes for i in range(lanes)]))
    f.store(kind, value, at)


def _across(f: Function, lanes: int, value: str, combine: Combine, element: str = F32) -> str:
    """All lanes combined, in every lane."""
    width = lanes // 2
    while width:
        value = combine(value, f.shuffle(lanes, value, value, [i ^ width for i in range(lanes)], element))
        width //= 2
    return value


def _softmax(f: Function, lanes: int, units: int) -> None:
    kind, low = vector(lanes), constant(-inf, lanes)

    def larger(a: str, b: str) -> str:
        above = f.assign(f"fcmp ogt {kind} {a}, {b}")
        return f.assign(f"select {vector(lanes, 'i1')} {above}, {kind} {a}, {kind} {b}")

    def add(a: str, b: str) -> str:
        return f.op("fadd", kind, a, b)

    if units <= _IN_REGISTERS * lanes:
        places = [(f.offset("%buffer", first), max(0, lanes - units + first)) for first in range(0, units, lanes)]
        tails = [lanes - missing if missing else 0 for _, missing in places]
        values = [_load(f, lanes, at, tail, -inf) for (at, _), tail in zip(places, tails, strict=True)]
        most = low
        for value in values:
            most = larger(value, most)
        most = _across(f, lanes, most, larger)
        powers = [vecmath.exp(f, lanes, f.op("fsub", kind, value, most)) for value in values]
        total = powers[0]
        for power in powers[1:]:
            total = add(total, power)
        total = _across(f, lanes, total, add)
        for (at, _), tail, power in zip(places, tails, powers, strict=True):
            _store(f, lanes, f.op("fdiv", kind, power, total), at, tail)
        return

    def power_sum(at: str, tail: int, total: str) -> str:
        power = vecmath.exp(f, lanes, f.op("fsub", kind, _load(f, lanes, at, tail, -inf), most))
        _store(f, lanes, power, at, tail)
        return add(total, power)

    def divide(at: str, tail: int) -> None:
        _store(f, lanes, f.op("fdiv", kind, _load(f, lanes, at, tail, 0.0), total), at, tail)

    most = _folded(f, lanes, units, (kind, low), lambda at, tail, m: larger(_load(f, lanes, at, tail, -inf), m))
    most = _across(f, lanes, most, larger)
    total = _folded(f, lanes, units, (kind, constant(0.0, lanes)), power_sum)
    total = _across(f, lanes, total, add)
    _each(f, lanes, units, divide)


def _keys(f: Function, lanes: int, value: str) -> str:
    """Integers in the order of the values: all NaN equal and above everything, both zeros equal."""
    kind, whole = vector(lanes), vector(lanes, "i32")
    bits = f.assign(f"bitcast {kind} {f.op('fadd', kind, value, constant(0.0, lanes))} to {whole}")
    negative = f.op("ashr", whole, bits, _splat(31, lanes))
    ordered = f.op("xor", whole, bits, f.op("lshr", whole, negative, _splat(1, lanes)))
    unknown = f.assign(f"fcmp uno {kind} {value}, {value}")
    most = _splat((1 << 31) - 1, lanes)
    return f.assign(f"select {vector(lanes, 'i1')} {unknown}, {whole} {most}, {whole} {ordered}")


def _splat(value: int, lanes: int) -> str:
    return str(value) if lanes == 1 else f"splat (i32 {value})"


def _winners(f: Function, lanes: int, units: int, k: int) -> None:
    """The k-th largest key is found bit by bit, then what lies above it stays, and of its equals as many as fit."""
    whole, flags = vector(lanes, "i32"), vector(lanes, "i1")

    def count(comparison: str, threshold: str) -> str:
        """How many keys compare so with a threshold, an i32."""
        everywhere = f.broadcast(lanes, threshold, "i32")

        def one(at: str, tail: int, total: str) -> str:
            holds = f.assign(f"icmp {comparison} {whole} {_keys(f, lanes, f.load(vector(lanes), at))}, {everywhere}")
            if tail:
                units_only = ", ".join(f"i1 {str(i < tail).lower()}" for i in range(lanes))
                holds = f.op("and", flags, holds, f"<{units_only}>")
            return f.op("sub", whole, total, f.assign(f"sext {flags} {holds} to {whole}"))

        counts = _folded(f, lanes, units, (whole, "zeroinitializer"), one)
        total = _across(f, lanes, counts, lambda a, b: f.op("add", whole, a, b), "i32")
        return f.assign(f"extractelement {whole} {total}, i64 0")

    # The threshold grows from the top bit down as an unsigned number; turning the sign bit makes it a signed one.
    with f.loop(32, [("i32", "0")]) as search:
        (found,) = search.carried
        shift = f.assign(f"trunc i64 {f.op('sub', I64, '31', search.index)} to i32")
        candidate = f.op("or", "i32", found, f.op("shl", "i32", "1", shift))
        reached = count("sge", f.op("xor", "i32", candidate, str(_SIGN)))
        enough = f.assign(f"icmp sge i32 {reached}, {k}")
        search.following = [f.assign(f"select i1 {enough}, i32 {candidate}, i32 {found}")]
    threshold = f.op("xor", "i32", search.results[0], str(_SIGN))
    room = f.op("sub", "i32", str(k), count("sgt", threshold))
    with f.loop(units, [("i32", room)]) as loop:
        at = f.offset("%buffer", loop.index)
        value = f.load(F32, at)
        key = _keys(f, 1, value)
        fits = f.assign(f"icmp sgt i32 {loop.carried[0]}, 0")
        tied = f.op("and", "i1", f.assign(f"icmp eq i32 {key}, {threshold}"), fits)
        kept = f.op("or", "i1", tied, f.assign(f"icmp sgt i32 {key}, {threshold}"))
        f.store(F32, f.assign(f"select i1 {kept}, float {value}, float {constant(0.0)}"), at)
        loop.following = [f.op("sub", "i32", loop.carried[0], f.assign(f"zext i1 {tied} to i32"))]
