"""What the hidden-to-hidden matrices add to the sums of the gates, one vector of units at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pathc.backends.llvm.emit import I64, Function, constant, suffix, vector
from pathc.backends.llvm.recurrent.layout import UNROLL, Layout

_SUMS = 16
"""Vectors of sums that a list keeps at a time."""


@dataclass
class At:
    """Where a vector stands: its first unit, its number, its weights, the tables, states of each sample.

    `begin` is where the weights of all vectors begin.
    """

    unit: str
    number: str
    weights: str
    table: str
    states: Sequence[str]
    begin: str = "%w"


def add_recurrent(f: Function, layout: Layout, at: At, gates: Sequence[int], sums: list[list[str]]) -> str:
    """Add to `sums[gate][sample]` of some gates what their matrices make of `at.states`; where the next weights are."""
    if layout.form == "diag":
        return _diagonal(f, layout, at, gates, sums)
    if layout.form == "band":
        return _band(f, layout, at, gates, sums)
    if layout.form == "list":
        return _list(f, layout, at, gates, sums)
    if layout.form == "gather":
        return _gather(f, layout, at, gates, sums)
    return at.weights


def _row(f: Function, layout: Layout, pointer: str, row: int, gates: Sequence[int]) -> dict[int, str]:
    """Weights of some gates in one row."""
    lanes, total = layout.lanes, len(layout.cell.recurrent_gates)
    kind = vector(lanes)
    return {g: f.load(kind, f.offset(pointer, (row * total + g) * lanes), 4 * lanes) for g in gates}


def _add(f: Function, layout: Layout, weights: dict[int, str], sources: Sequence[str], sums: list[list[str]]) -> None:
    for g, weight in weights.items():
        for s, source in enumerate(sources):
            sums[g][s] = f.fma(layout.lanes, weight, source, sums[g][s])


def _diagonal(f: Function, layout: Layout, at: At, gates: Sequence[int], sums: list[list[str]]) -> str:
    kind = vector(layout.lanes)
    sources = [f.load(kind, f.offset(state, at.unit), 4 * layout.lanes) for state in at.states]
    _add(f, layout, _row(f, layout, at.weights, 0, gates), sources, sums)
    return f.offset(at.weights, len(layout.cell.recurrent_gates) * layout.lanes)


def _band(f: Function, layout: Layout, at: At, gates: Sequence[int], sums: list[list[str]]) -> str:
    lanes, kind = layout.lanes, vector(layout.lanes)
    bases = [f.offset(state, at.unit) for state in at.states]
    known: dict[tuple[int, int], str] = {}

    def whole(sample: int, away: int) -> str:
        if (sample, away) not in known:
            known[sample, away] = f.load(kind, f.offset(bases[sample], away * lanes), 4 * lanes)
        return known[sample, away]

    for row, shift in enumerate(range(-layout.reach, layout.reach + 1)):
        away, rest = divmod(shift, lanes)
        sources: list[str] = []
        for sample in range(len(bases)):
            low = whole(sample, away)
            mask = range(rest, rest + lanes)
            sources.append(f.shuffle(lanes, low, whole(sample, away + 1), mask) if rest else low)
        _add(f, layout, _row(f, layout, at.weights, row, gates), sources, sums)
    size = (2 * layout.reach + 1) * len(layout.cell.recurrent_gates) * lanes
    return f.offset(at.weights, size)


def _list(f: Function, layout: Layout, at: At, gates: Sequence[int], sums: list[list[str]]) -> str:
    most = max(1, _SUMS // len(at.states))
    behind = [_some(f, layout, at, gates[k : k + most], sums) for k in range(0, len(gates), most)]
    return behind[-1]


def _some(f: Function, layout: Layout, at: At, gates: Sequence[int], sums: list[list[str]]) -> str:
    """As many gates as there are registers for their sums."""
    lanes, kind, total = layout.lanes, vector(layout.lanes), len(layout.cell.recurrent_gates)
    entry = f.offset(at.table, f.op("shl", I64, at.number, "1"), "i32")
    first = f.assign(f"zext i32 {f.load('i32', entry)} to i64")
    count = f.assign(f"zext i32 {f.load('i32', f.offset(entry, 1, 'i32'))} to i64")
    bases = [f.offset(state, first) for state in at.states]
    zero = constant(0.0, lanes)
    # As many sums as registers hold: a few chains hide the latency of an addition, more go to memory and back.
    ways = UNROLL
    while ways > 1 and len(gates) * len(bases) * ways > _SUMS:
        ways //= 2
    chains = [(g, s, k) for g in gates for s in range(len(bases)) for k in range(ways)]
    carried = [(kind, sums[g][s] if k == 0 else zero) for g, s, k in chains]
    with f.loop(count, [*carried, ("ptr", at.weights)], step=UNROLL) as loop:
        now = {chain: loop.carried[n] for n, chain in enumerate(chains)}
        here = loop.carried[-1]
        for k in range(UNROLL):
            weights = _row(f, layout, here, k, gates)
            for s, base in enumerate(bases):
                unit = f.load("float", f.offset(f.offset(base, loop.index), k))
                spread = f.broadcast(lanes, unit)
                for g in gates:
                    now[g, s, k % ways] = f.fma(lanes, weights[g], spread, now[g, s, k % ways])
        loop.following = [*(now[c] for c in chains), f.offset(here, UNROLL * total * lanes)]
    final = {chain: loop.results[n] for n, chain in enumerate(chains)}
    for g in gates:
        for s in range(len(bases)):
            parts = [final[g, s, k] for k in range(ways)]
            while len(parts) > 1:
                parts = [f.op("fadd", kind, a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
            sums[g][s] = parts[0]
    return loop.results[-1]


def _gather(f: Function, layout: Layout, at: At, gates: Sequence[int], sums: list[list[str]]) -> str:
    """Sources by number: the rows of the table run beside those of the weights, behind the counts."""
    lanes, kind, total = layout.lanes, vector(layout.lanes), len(layout.cell.recurrent_gates)
    whole = vector(lanes, "i32")
    count = f.assign(f"zext i32 {f.load('i32', f.offset(at.table, at.number, 'i32'))} to i64")
    done = f.assign(f"ptrtoint ptr {at.weights} to i64")
    start = f.assign(f"ptrtoint ptr {at.begin} to i64")
    rows = f.op("udiv", I64, f.op("sub", I64, done, start), str(4 * lanes * total))
    numbers = f.offset(f.offset(at.table, layout.vectors, "i32"), f.op("mul", I64, rows, str(lanes)), "i32")
    chains = [(g, s) for g in gates for s in range(len(at.states))]
    carried = [(kind, sums[g][s]) for g, s in chains]
    before = f.block
    label = f.fresh("gather")[1:]
    some = f.assign(f"icmp ne i64 {count}, 0")
    f.line(f"br i1 {some}, label %{label}.some, label %{label}.end")
    f.label(f"{label}.some")
    with f.loop(count, [*carried, ("ptr", at.weights), ("ptr", numbers)]) as loop:
        now = dict(zip(chains, loop.carried, strict=False))
        here, index = loop.carried[-2:]
        units = f.load(whole, index)
        weights = _row(f, layout, here, 0, gates)
        for s, state in enumerate(at.states):
            source = gathered(f, lanes, state, units)
            for g in gates:
                now[g, s] = f.fma(lanes, weights[g], source, now[g, s])
        step = f.offset(here, total * lanes), f.offset(index, lanes, "i32")
        loop.following = [*(now[c] for c in chains), *step]
    after = f.block
    f.line(f"br label %{label}.end")
    f.label(f"{label}.end")
    for n, (g, s) in enumerate(chains):
        sums[g][s] = f.assign(f"phi {kind} [ {carried[n][1]}, %{before} ], [ {loop.results[n]}, %{after} ]")
    return f.assign(f"phi ptr [ {at.weights}, %{before} ], [ {loop.results[-2]}, %{after} ]")


def gathered(f: Function, lanes: int, base: str, numbers: str) -> str:
    """The floats with these numbers behind a base, one for each lane."""
    kind = vector(lanes)
    places = f.assign(f"getelementptr float, ptr {base}, {vector(lanes, 'i32')} {numbers}")
    given = [
        (f"<{lanes} x ptr>", places),
        ("i32", "4"),
        (vector(lanes, "i1"), "splat (i1 true)"),
        (kind, constant(0.0, lanes)),
    ]
    return f.call(kind, f"llvm.masked.gather.{suffix(lanes)}.v{lanes}p0", given)
