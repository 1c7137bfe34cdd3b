"""What happens to finished sums of a tile in place: softmax and k winners over the units, or one more function."""

from __future__ import annotations

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.common import Tile, byte_offset, column_groups, tile
from pathc.backends.llvm.emit import I64, Function, constant, vector
from pathc.backends.llvm.machine import Machine
from pathc.ir.types import Call

_SIGN = -(1 << 31)


def emit_post(name: str, machine: Machine, columns: int, units: int, call: Call) -> Function:
    """The kernel `void name(ptr buffer)` that applies an activation to a tile [units][columns] in place.

    softmax and kwinners look at all units of a column; anything else is elementwise (ValueError if unknown).
    """
    f = Function(name, (("ptr", "buffer"),))
    t = tile(machine, columns, 1)
    with column_groups(f, t) as column:
        buffer = byte_offset(f, "%buffer", column)
        if call.name == "softmax":
            _softmax(f, t, buffer, units)
        elif call.name == "kwinners":
            k = call.get("k")
            if not isinstance(k, int) or isinstance(k, bool) or k < 1:
                raise ValueError("kwinners takes a positive number as k")
            if k < units:
                _winners(f, t, buffer, units, k)
        else:
            with f.loop(units) as loop:
                at = _row(f, t, buffer, loop.index)
                value = vecmath.apply(f, t.lanes, f.load(t.kind, at, t.vector_bytes), call, machine)
                f.store(t.kind, value, at, t.vector_bytes)
    return f


def _row(f: Function, t: Tile, buffer: str, unit: str) -> str:
    return byte_offset(f, buffer, f.op("mul", I64, unit, str(t.stride), "nuw nsw"))


def _softmax(f: Function, t: Tile, buffer: str, units: int) -> None:
    """Write three rounds: the largest value, exponentials and their sum, division."""
    with f.loop(units, [(t.kind, constant(float("-inf"), t.lanes))]) as loop:
        value = f.load(t.kind, _row(f, t, buffer, loop.index), t.vector_bytes)
        larger = f.assign(f"fcmp ogt {t.kind} {value}, {loop.carried[0]}")
        loop.following = [_chosen(f, t, larger, value, loop.carried[0])]
    (largest,) = loop.results
    with f.loop(units, [(t.kind, constant(0.0, t.lanes))]) as loop:
        at = _row(f, t, buffer, loop.index)
        below = f.op("fsub", t.kind, f.load(t.kind, at, t.vector_bytes), largest)
        value = vecmath.exp(f, t.lanes, below)
        f.store(t.kind, value, at, t.vector_bytes)
        loop.following = [f.op("fadd", t.kind, loop.carried[0], value)]
    (total,) = loop.results
    with f.loop(units) as loop:
        at = _row(f, t, buffer, loop.index)
        f.store(t.kind, f.op("fdiv", t.kind, f.load(t.kind, at, t.vector_bytes), total), at, t.vector_bytes)


def _winners(f: Function, t: Tile, buffer: str, units: int, k: int) -> None:
    """Write a search, bit by bit, for the k-th largest key of every column, then keep what reaches it.

    Keys are integers in the order of the values: all NaN equal and above everything, both zeros equal.
    """
    whole = vector(t.lanes, "i32")
    zero, wanted = _splat(0), _splat(k)

    def key_at(unit: str) -> tuple[str, str, str]:
        at = _row(f, t, buffer, unit)
        value = f.load(t.kind, at, t.vector_bytes)
        bits = f.assign(f"bitcast {t.kind} {f.op('fadd', t.kind, value, constant(0.0, t.lanes))} to {whole}")
        negative = f.op("ashr", whole, bits, _splat(31))
        ordered = f.op("xor", whole, bits, f.op("lshr", whole, negative, _splat(1)))
        unknown = f.assign(f"fcmp uno {t.kind} {value}, {value}")
        return at, value, _chosen_whole(f, t, unknown, _splat((1 << 31) - 1), ordered)

    def counted(above: str, total: str) -> str:
        return f.op("add", whole, total, f.assign(f"zext {vector(t.lanes, 'i1')} {above} to {whole}"))

    # Thresholds are searched with the sign bit turned, so that bits are set from the top as in unsigned numbers.
    with f.loop(32, [(whole, zero)]) as search:
        (found,) = search.carried
        shift = f.assign(f"trunc i64 {f.op('sub', I64, '31', search.index)} to i32")
        bit = f.broadcast(t.lanes, f.op("shl", "i32", "1", shift), "i32")
        candidate = f.op("or", whole, found, bit)
        threshold = f.op("xor", whole, candidate, _splat(_SIGN))
        with f.loop(units, [(whole, zero)]) as loop:
            _, _, key = key_at(loop.index)
            reached = f.assign(f"icmp sge {whole} {key}, {threshold}")
            loop.following = [counted(reached, loop.carried[0])]
        enough = f.assign(f"icmp sge {whole} {loop.results[0]}, {wanted}")
        search.following = [_chosen_whole(f, t, enough, candidate, found)]
    threshold = f.op("xor", whole, search.results[0], _splat(_SIGN))
    with f.loop(units, [(whole, zero)]) as loop:
        _, _, key = key_at(loop.index)
        loop.following = [counted(f.assign(f"icmp sgt {whole} {key}, {threshold}"), loop.carried[0])]
    room = f.op("sub", whole, wanted, loop.results[0])
    with f.loop(units, [(whole, room)]) as loop:
        at, value, key = key_at(loop.index)
        equal = f.assign(f"icmp eq {whole} {key}, {threshold}")
        fits = f.assign(f"icmp sgt {whole} {loop.carried[0]}, {zero}")
        mask = vector(t.lanes, "i1")
        tied = f.op("and", mask, equal, fits)
        kept = f.op("or", mask, tied, f.assign(f"icmp sgt {whole} {key}, {threshold}"))
        f.store(t.kind, _chosen(f, t, kept, value, constant(0.0, t.lanes)), at, t.vector_bytes)
        used = f.assign(f"zext {mask} {tied} to {whole}")
        loop.following = [f.op("sub", whole, loop.carried[0], used)]


def _splat(value: int) -> str:
    return f"splat (i32 {value})"


def _chosen(f: Function, t: Tile, condition: str, yes: str, no: str) -> str:
    return f.assign(f"select {vector(t.lanes, 'i1')} {condition}, {t.kind} {yes}, {t.kind} {no}")


def _chosen_whole(f: Function, t: Tile, condition: str, yes: str, no: str) -> str:
    whole = vector(t.lanes, "i32")
    return f.assign(f"select {vector(t.lanes, 'i1')} {condition}, {whole} {yes}, {whole} {no}")
