"""What must hold of every plan before code is made from it, as a list of rules; a rule's docstring documents it.

A plan may come from a text that somebody has edited. Code made from it runs on raw addresses, so whatever passes
these rules stays inside its buffers and computes the graph. A rule may rely on all rules above it: checking stops
at the first one that finds something.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.fused import ColumnFused
from pathc.backends.llvm.flow import Fault
from pathc.backends.llvm.forms import ARRANGED, FUSED, form, form_names, tile_options
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.netplan import (
    ALIGNMENT,
    Load,
    Move,
    NetPlan,
    Op,
    Post,
    Run,
    Save,
    Where,
    length_of,
    touched,
)
from pathc.backends.llvm.plan import Layout, Step, TileOption
from pathc.backends.llvm.planrule import RULES, Checked, Found, rule
from pathc.backends.llvm.row.interleaved import layouts_refusal
from pathc.ir import gf2
from pathc.ir.graph import Graph, Station
from pathc.ir.types import Call
from pathc.support.diagnostics import Diagnostic, InternalError, PathcError
from pathc.support.source import Span

MOST_ROWS = 8
"""Samples a row kernel takes at a time: its code is written out for each."""
MOST_COLUMNS = 256
LARGEST_SCRATCH = 1 << 32
"""Floats of working memory: 16 GiB."""


def violations(plan: NetPlan, graph: Graph, machine: Machine) -> list[Fault]:
    """What the first broken rule finds, empty if every rule holds."""
    checked = Checked(plan, graph, machine)
    for each in RULES:
        if found := list(each.check(checked)):
            return found
    return []


def verify_plan(plan: NetPlan, graph: Graph, machine: Machine, places: Mapping[Where, Span] | None = None) -> None:
    """Raise PathcError with what the first broken rule finds: E0611, E0650 to E0658.

    `places` says where in a text operations and buffers stand. Without it the plan was made here, and what is wrong
    with it is raised as InternalError E0659.
    """
    found = violations(plan, graph, machine)
    if not found:
        return
    if places is None:
        text = f"the plan of {plan.family} kernels for `{graph.name}` is wrong"
        cause = tuple(f"{fault.code}: {fault.text}" for fault in found)
        raise InternalError(Diagnostic("E0659", text, graph.loc, notes=cause, help="please report this with the model"))
    raise PathcError(*(Diagnostic(f.code, f.text, places.get(f.at, places.get("")), help=f.help) for f in found))


@rule
def plan_suits_the_machine(c: Checked) -> Found:
    """The plan is made for vectors as wide as the machine's, its kernels for a number of samples they can take."""
    plan, width = c.plan, c.machine.width
    if plan.width != width:
        text = f"the plan is for vectors of {plan.width} floats, the target has {width}"
        yield Fault("E0650", text, "", f"compile with `llvm{{width={plan.width}}}`, or write the plan again")
    elif plan.family == "row" and not 1 <= plan.samples <= MOST_ROWS:
        yield Fault("E0650", f"row kernels cannot take {plan.samples} samples", "", f"1 to {MOST_ROWS} are possible")
    elif plan.family == "column" and (plan.samples % width or not width <= plan.samples <= MOST_COLUMNS):
        text = f"column kernels cannot take {plan.samples} samples"
        yield Fault("E0650", text, "", f"multiples of {width} up to {MOST_COLUMNS} are possible")


@rule
def numbers_are_the_nets(c: Checked) -> Found:
    """Inputs, outputs and multiply-adds are those of the graph; the cost is a number."""
    graph, plan = c.graph, c.plan
    expected = {
        "inputs": sum(station.real_units for station in graph.inputs),
        "outputs": sum(station.real_units for station in graph.outputs),
        "work": sum(junction.count for junction in c.junctions),
    }
    for name, value in expected.items():
        if getattr(plan, name) != value:
            yield Fault("E0651", f"the net has {name} = {value}, the plan {getattr(plan, name)}", "", "correct it")
    if not 0 <= plan.cycles < math.inf:
        yield Fault("E0651", f"{plan.cycles} is no number of clock cycles", "", "any positive number will do")


@rule
def buffers_exist(c: Checked) -> Found:
    """Operations name buffers of the plan, each of its own name, which is that of a station, perhaps with a number."""
    for buffer in c.plan.buffers:
        if buffer.station not in c.stations:
            yield Fault("E0652", f"there is no station `{buffer.station}` for buffer `%{buffer.name}`", buffer.name)
    if len(c.buffers) < len(c.plan.buffers):
        yield Fault("E0652", "two buffers share a name", "", "number them: `%h.1`, `%h.2`")
    for at, op in enumerate(c.plan.ops):
        for name in touched(op):
            if name not in c.buffers:
                yield Fault("E0652", f"there is no buffer `%{name}`", at)


@rule
def layouts_are_bijections(c: Checked) -> Found:
    """A buffer is as long as its station, rounded up to whole vectors in rows; an order other than the natural one
    stands in rows of a power of two of units, at least a vector, and has one independent column for every bit. Only
    columns stay in an array of the user.
    """
    brought = {op.dst if isinstance(op, Load) else op.src for op in c.plan.ops if isinstance(op, Load | Save)}
    for buffer in c.plan.buffers:
        units, layout = c.stations[buffer.station].units, buffer.layout
        unit = c.machine.width if c.plan.family == "row" else 1
        expected = -(-units // unit) * unit
        if layout.size != expected:
            text = f"buffer `%{buffer.name}` has {layout.size} floats, {units} units need {expected}"
            yield Fault("E0653", text, buffer.name, f"write {expected}")
        elif layout.columns and (c.plan.family != "row" or units & (units - 1) or units < unit):
            text = f"buffer `%{buffer.name}` cannot have an order: it needs a power of two of units in rows"
            yield Fault("E0653", text, buffer.name, f"from {unit} units on; leave the order out")
        elif layout.array and c.plan.family != "column":
            text = f"buffer `%{buffer.name}` cannot stay in {layout.array}: rows of units do not lie in an array"
            yield Fault("E0653", text, buffer.name, f"leave `in {layout.array}` out")
        elif layout.array and buffer.name not in brought:
            text = f"buffer `%{buffer.name}` cannot stay in {layout.array}: it is not loaded from x or saved to y"
            yield Fault("E0653", text, buffer.name, f"leave `in {layout.array}` out")
        elif layout.columns and not _is_bijection(layout):
            text = f"the order of buffer `%{buffer.name}` does not put every unit of {units} in a place of its own"
            yield Fault("E0653", text, buffer.name, f"{units.bit_length() - 1} columns, independent over GF(2)")


@rule
def buffers_lie_in_scratch(c: Checked) -> Found:
    """Buffers start at cache lines and end inside the working memory, which is not larger than memory can be."""
    plan, unit = c.plan, ALIGNMENT // 4
    for buffer in plan.buffers:
        end = buffer.offset + length_of(buffer.layout, plan.samples)
        if buffer.offset < 0 or buffer.offset % unit:
            text = f"buffer `%{buffer.name}` starts at {buffer.offset}, which is no multiple of {unit}"
            yield Fault("E0652", text, buffer.name, "buffers start at cache lines")
        elif end > plan.scratch:
            text = f"buffer `%{buffer.name}` ends at {end} of {plan.scratch} floats of scratch memory"
            yield Fault("E0652", text, buffer.name, f"`scratch = {end}`, or another place")
    if not 0 <= plan.scratch <= LARGEST_SCRATCH:
        text = f"{plan.scratch} floats of scratch memory are more than {LARGEST_SCRATCH}"
        yield Fault("E0652", text, "", "take fewer samples at a time")


@rule
def operations_agree_with_the_graph(c: Checked) -> Found:
    """An operation reads and writes buffers of its own stations in their orders; what it says of a station or of
    a junction is so in the graph; kernels apply elementwise activations only; silent units keep the natural order.
    All loads take the user's array for one order, and all saves; rows of units know samples in rows only.
    """
    junctions = {(j.line, j.number): j for j in c.junctions}
    firsts = {**_firsts(c.graph.inputs), **_firsts(c.graph.outputs)}
    for at, op in enumerate(c.plan.ops):
        yield from _one_order(c, at, op)
        for name, station, layout in _claims(op):
            buffer = c.buffers[name]
            if buffer.station != (station or buffer.station):
                text = f"`%{name}` does not hold station `{station}`"
                yield Fault("E0654", text, at, f"buffers of `{station}` are called `%{station}`, `%{station}.1`")
            elif layout is not None and layout != buffer.layout:
                yield Fault("E0654", f"`%{name}` has another order than this operation says", at)
        if isinstance(op, Run):
            for call in (op.step.activation, op.step.fused_activation):
                yield from _elementwise(call, at)
            for junction in (op.step.junction, op.step.fused):
                if junction is not None and junctions.get((junction.line, junction.number)) != junction:
                    yield Fault("E0654", f"`${junction.line}.{junction.number}` is another junction in the graph", at)
        elif isinstance(op, Move):
            if c.plan.family != "row" or op.source.size != op.target.size or _no_power(op.source.size):
                text = f"`%{op.src}` cannot be moved: it needs a power of two of units in rows"
                yield Fault("E0654", text, at, "give both buffers the natural order")
        else:
            yield from _end_fits(c, at, op, firsts)


def _one_order(c: Checked, at: int, op: Op) -> Found:
    """A load or a save has the order of all others; what stays in an array is brought by no other operation."""
    if isinstance(op, Load | Save):
        order = c.plan.orders[0 if isinstance(op, Load) else 1]
        if op.order != order or (op.order == "units" and c.plan.family == "row"):
            text = "an array has one order, the same for all loads or all saves, and in rows it is samples in rows"
            yield Fault("E0654", text, at, "write `x.T` and `y.T` everywhere in a column plan, or nowhere")
    elif isinstance(op, Run | Move) and c.buffers[op.dst].layout.array == "x":
        yield Fault("E0654", f"`%{op.dst}` stays in the user's input, which is not written to", at)


def _elementwise(call: Call | None, at: int) -> Found:
    if call is not None and call.name not in vecmath.ELEMENTWISE:
        yield Fault("E0654", f"`{call}` needs all units at once", at, "write `apply` behind this operation")


def _end_fits(c: Checked, at: int, op: Load | Save | Post, firsts: Mapping[str, int]) -> Found:
    """What a load, a save or an activation says of its station."""
    name = op.src if isinstance(op, Save) else op.dst
    buffer = c.buffers[name]
    station = c.stations[buffer.station]
    if isinstance(op, Post):
        if op.units != station.real_units:
            yield Fault("E0654", f"station `{station.name}` has {station.real_units} units, not {op.units}", at)
        elif buffer.layout.columns:
            text = f"`%{name}` is not in natural order, an activation on its own needs it so"
            yield Fault("E0654", text, at, f"move it to `%{station.name}` first")
        elif buffer.layout.array:
            text = f"`%{name}` stays in {buffer.layout.array}, `apply` needs a buffer in scratch memory"
            yield Fault("E0654", text, at, f"leave `in {buffer.layout.array}` out")
        return
    if isinstance(op, Load):
        yield from _elementwise(op.activation, at)
    role, array = ("input", "x") if isinstance(op, Load) else ("output", "y")
    if station.role != role:
        yield Fault("E0654", f"station `{station.name}` is no {role}", at, f"its role is {station.role}")
    elif (op.first, op.real, op.units) != (firsts[station.name], station.real_units, station.units):
        first = firsts[station.name]
        text = f"`{station.name}` is {array}[{first}:{first + station.real_units}]"
        yield Fault("E0654", f"{text}, not {array}[{op.first}:{op.first + op.real}]", at)
    elif op.layout.columns and station.real_units != op.layout.size:
        text = f"`{station.name}` has silent units, so it comes and goes in natural order"
        yield Fault("E0654", text, at, f"use a buffer `%{station.name}` and move it")
    elif op.layout.array and not _stays(op, array, station):
        text = f"`%{name}` cannot stay in {op.layout.array}: only all units of {array}.T as they are can"
        yield Fault("E0654", text, at, f"leave `in {op.layout.array}` out")


def _stays(op: Load | Save, array: str, station: Station) -> bool:
    """Whether a station may stay in an array of the user."""
    activation = op.activation if isinstance(op, Load) else None
    plain = station.real_units == station.units and activation is None
    return plain and op.order == "units" and op.layout.array == array


@rule
def forms_fit(c: Checked) -> Found:
    """Every kernel form exists, is of the plan's family, does not refuse the junction or the orders of its buffers,
    is fused where there are two junctions, and has tiles it knows, in their bounds.
    """
    for at, step in c.steps:
        reason = _form_problem(step, c.machine, c.plan.family)
        if reason:
            place = f"${step.junction.line}.{step.junction.number}"
            yield Fault("E0611", f"kernel form `{step.form}` cannot compute `{place}`: {reason}", at)


def _form_problem(step: Step, machine: Machine, family: str) -> str:
    if step.form not in form_names():
        return "there is no such form"
    chosen = form(step.form)
    if (chosen.family, step.family) != (family, family):
        return f"it is a {chosen.family} kernel in a plan of {family} kernels"
    if step.weight_type not in ("f32", "bf16"):
        return f"it has no weights of type {step.weight_type}"
    if (step.form == FUSED) != (step.fused is not None):
        return f"`{FUSED}`, and no other form, takes two junctions"
    if step.fused is not None:
        reason = ColumnFused().pair_refusal(step.junction, step.fused, machine)
        reason = reason or ("it cannot add to what a buffer holds" if step.init == "add" else "")
    else:
        reason = chosen.refusal(step.junction, machine)
    if not reason and step.form == ARRANGED:
        reason = layouts_refusal(step, machine)
    elif not reason and (step.src_layout.columns or step.dst_layout.columns):
        reason = "it needs buffers in natural order"
    return reason or _tile_problem(step)


def _tile_problem(step: Step) -> str:
    options: dict[str, TileOption] = {option.name: option for option in tile_options(step.form)}
    if len({name for name, _ in step.tile}) < len(step.tile):
        return "a tile is given twice"
    for name, value in step.tile:
        option = options.get(name)
        if option is None:
            return f"it has no tile `{name}`; tiles: {', '.join(options) or 'none'}"
        if not 1 <= value <= option.most or (option.power and value & (value - 1)):
            powers = "powers of two " if option.power else ""
            return f"its tile `{name}` cannot be {value}: {powers}from 1 to {option.most} are possible"
    return ""


@rule
def values_are_there_when_they_are_read(c: Checked) -> Found:
    """A buffer is read after it was written and before another buffer in the same place is."""
    return (fault for fault in c.flow if fault.code == "E0655")


@rule
def every_junction_counts_once(c: Checked) -> Found:
    """Sums of a station start once, from its bias if it has one, and every junction into it is added once, the
    junctions of a fused pair included; what is read is finished.
    """
    return (fault for fault in c.flow if fault.code == "E0656")


@rule
def activations_come_once_and_last(c: Checked) -> Found:
    """The stages of a station are applied to finished sums, all of them, once, in their order."""
    return (fault for fault in c.flow if fault.code == "E0657")


@rule
def outputs_are_saved(c: Checked) -> Found:
    """Every output is saved once."""
    return (fault for fault in c.flow if fault.code == "E0658")


def _claims(op: Op) -> tuple[tuple[str, str, Layout | None], ...]:
    """Buffers an operation uses, the stations it takes them for (or ""), and the orders."""
    match op:
        case Load():
            return ((op.dst, "", op.layout),)
        case Post():
            return ((op.dst, "", None),)
        case Save():
            return ((op.src, "", op.layout),)
        case Move():
            return (op.src, "", op.source), (op.dst, op.src.partition(".")[0], op.target)
        case Run(step=step):
            return (op.src, step.junction.src, step.src_layout), (op.dst, step.last.dst, step.dst_layout)


def _is_bijection(layout: Layout) -> bool:
    columns = layout.columns
    inside = all(0 < column < layout.size for column in columns)
    return inside and 1 << len(columns) == layout.size and gf2.rank(columns) == len(columns)


def _no_power(size: int) -> bool:
    return size < 1 or size & (size - 1) != 0


def _firsts(stations: tuple[Station, ...]) -> dict[str, int]:
    """First column of every station in the user's array."""
    ends = accumulate(station.real_units for station in stations)
    return {station.name: end - station.real_units for station, end in zip(stations, ends, strict=True)}
