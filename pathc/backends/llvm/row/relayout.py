"""Permute a station's buffer from one layout to another in registers.

Both layouts are linear over GF(2), so a group of 2^k vectors fills exactly 2^k vectors of the target after k rounds
of two-vector shuffles, like a transpose; k is the number of lane bits that become vector bits.
"""

from __future__ import annotations

from collections.abc import Sequence

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.emit import Function, vector
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Layout
from pathc.backends.llvm.row.stream import Offset
from pathc.backends.llvm.row.weave import span
from pathc.ir import gf2
from pathc.ir.types import Call

_UNROLL = 64
"""Vectors moved by one basic block."""


def relayout(
    source: Layout, target: Layout, name: str, machine: Machine, rows: int, activation: Call | None = None
) -> Function:
    """The kernel `void name(ptr src, ptr dst)` that moves `rows` rows from one layout to another.

    Sizes are equal, powers of two and at least the machine's width. `src` may be a user's array, `dst` is another
    buffer, aligned to 64 bytes. `activation` is applied on the way.
    """
    function = Function(name, (("ptr", "src"), ("ptr", "dst")))
    bits = machine.width.bit_length() - 1
    moves = _moves(source, target)
    inside = _exchanged(moves, bits)
    steady, turning = _groups(moves, inside, bits)
    more = max(0, _UNROLL.bit_length() - 1 - len(inside) + bits - len(turning))
    inner, outer = (*steady[:more], *turning), steady[more:]
    size = source.size

    def body(index: str | None) -> None:
        read = Offset(function, index, outer)
        write = Offset(function, index, [gf2.apply(moves, g) for g in outer])
        for row in range(rows):
            for g in span(inner):
                _group(function, machine, moves, inside, read, write, g, row * size, activation)

    if outer:
        with function.loop(1 << len(outer)) as loop:
            body(loop.index)
    else:
        body(None)
    return function


def relayout_cycles(source: Layout, target: Layout, machine: Machine) -> float:
    """Estimated clock cycles for one row."""
    bits = machine.width.bit_length() - 1
    rounds = len(_exchanged(_moves(source, target), bits)) - bits
    return 20.0 + source.size / machine.width * (2.0 + 1.25 * rounds)


def _moves(source: Layout, target: Layout) -> tuple[int, ...]:
    """Columns of the map from a position in `source` to the position in `target`."""
    units = source.size.bit_length() - 1
    identity = tuple(1 << k for k in range(units))
    return gf2.compose(target.columns or identity, gf2.coordinates(source.columns or identity))


def _exchanged(moves: Sequence[int], bits: int) -> tuple[int, ...]:
    """Displacements of source positions inside a group: the lanes, then what must be added to fill target vectors."""
    lanes = [1 << j for j in range(bits)]
    back = gf2.coordinates(moves)
    wanted = [gf2.apply(back, lane) for lane in lanes]
    extra = gf2.complement(wanted, lanes)
    return (*lanes, *gf2.echelon(e & -(1 << bits) for e in extra))


def _groups(moves: Sequence[int], inside: Sequence[int], bits: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Displacements between groups, source lane zero: those that keep the target's lanes, and those that do not."""
    units, mask = len(moves), (1 << bits) - 1

    def key(position: int) -> int:
        return ((position & mask) << bits | gf2.apply(moves, position) & mask) << units | position

    known = gf2.echelon(key(p) for p in inside)
    between = gf2.complement([1 << k for k in range(bits, units)], inside)
    keys = gf2.echelon(gf2.reduce(key(p), known) for p in between)
    steady = tuple(k for k in keys if not k >> units)
    return steady, tuple(k & (1 << units) - 1 for k in keys[len(steady) :])


def _group(
    function: Function,
    machine: Machine,
    moves: Sequence[int],
    inside: Sequence[int],
    read: Offset,
    write: Offset,
    group: int,
    behind: int,
    activation: Call | None,
) -> None:
    """Load a group, exchange lane bits for vector bits round by round, store it."""
    width = machine.width
    bits = width.bit_length() - 1
    kind = vector(width)
    vectors = span(inside[bits:])
    held = [[group ^ v ^ lane for lane in range(width)] for v in vectors]
    values = [function.load(kind, read.address("%src", group ^ v, behind)) for v in vectors]
    rounds = len(inside) - bits
    goals = {p: gf2.apply(moves, p) for vector_ in held for p in vector_}
    first = goals[group] & -width
    # Target vectors of the group, numbered so that each lane bit's image can be read off.
    ends = gf2.echelon(gf2.apply(moves, p) & -width for p in inside)
    number = {first ^ e: k for k, e in enumerate(span(ends))}
    for step in range(rounds):
        for a in range(len(values)):
            if a >> step & 1:
                continue
            b = a | 1 << step
            pool = [*held[a], *held[b]]
            parts: list[tuple[list[int], str]] = []
            for side in (0, 1):
                mask = [k for k, p in enumerate(pool) if number[goals[p] & -width] >> step & 1 == side]
                mask = _ordered(mask, pool, goals, width, step == rounds - 1, side)
                parts.append(([pool[k] for k in mask], function.shuffle(width, values[a], values[b], mask)))
            (held[a], values[a]), (held[b], values[b]) = parts
    for positions, value in zip(held, values, strict=True):
        lanes = [goals[p] & width - 1 for p in positions]
        if lanes != list(range(width)):
            order = sorted(range(width), key=lanes.__getitem__)
            value = function.shuffle(width, value, "poison", order)
        value = vecmath.apply(function, width, value, activation, machine)
        function.store(kind, value, write.address("%dst", goals[positions[0]] & -width, behind), 4)


def _ordered(
    mask: list[int], pool: Sequence[int], goals: dict[int, int], width: int, final: bool, side: int
) -> list[int]:
    """Lane order of a shuffle's result: the target's in the last round, else everything stays where it can."""
    if final:
        return sorted(mask, key=lambda k: goals[pool[k]] & width - 1)
    placed: list[int | None] = [None] * width
    waiting: list[int] = []
    for k in mask:
        if placed[k % width] is None:
            placed[k % width] = k
        else:
            waiting.append(k)
    rest = iter(waiting)
    return [next(rest) if k is None else k for k in placed]
