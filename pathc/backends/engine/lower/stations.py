"""Decisions before any instruction: where units lie, and by which instruction each junction is done."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pathc.backends.engine.lower.layout import Int64, Layout, linear, natural, side_by_side
from pathc.backends.engine.lower.matrix import cost, matrix_works
from pathc.backends.engine.lower.steps import Work, banks_for, dense_work, lanes_of, path_work, table_work
from pathc.backends.engine.machine import FORMATS, Machine
from pathc.ir.facts import Order
from pathc.ir.interp.junctions import DenseJunction, PathJunction
from pathc.ir.quantized import Format, IntegerJunction, IntegerNetwork, IntegerStation
from pathc.ir.recurrence import structure_edges
from pathc.support.diagnostics import PathcError, error

_LARGEST = 127
_MOST_PIECES = 16


@dataclass(frozen=True)
class Junction:
    """A junction with its instructions: name, source station, format of the weights, whether sources are u8, and
    whether negative ones are read as 0.
    """

    name: str
    source: str
    format: str
    unsigned: bool
    works: tuple[Work, ...]
    rectify: bool = False


@dataclass(frozen=True)
class Plan:
    """Where a station lies, what leads into it, and how many multiplications that are; the same of its own state."""

    layout: Layout
    junctions: tuple[Junction, ...]
    work: int
    recurrent: Junction | None = None
    recurrent_work: int = 0

    @property
    def works(self) -> list[Work]:
        """The instructions of all junctions, those of the state last."""
        own = (self.recurrent,) if self.recurrent is not None else ()
        return [work for junction in (*self.junctions, *own) for work in junction.works]


def plan_of(network: IntegerNetwork, machine: Machine) -> dict[str, Plan]:
    """The plans of all stations, in an order of evaluation; E1050 for what the engine cannot do."""
    plans: dict[str, Plan] = {}
    for each in network.stations:
        _supported(each)
        plans[each.station.name] = _plan(network, machine, each, plans)
    return plans


def _supported(each: IntegerStation) -> None:
    station, read = each.station, each.reading
    if read is not None and read.winners:
        known = "relu, leaky, abs, hardtanh, tanh and sigmoid are what PP does"
        raise _cannot(each, "needs a choice of winners", known)
    if each.format is not None and (each.format.bits > 8 or each.format.low < -128 or each.format.high > 255):
        raise _cannot(each, f"holds {each.format.type}", "activations have 8 bits: i8 or u8")
    if station.role == "input" and station.pipeline:
        raise _cannot(each, "is an input with stages", "move them to a station behind it")
    if each.cell is not None:
        if each.cell.cell.directions > 1 or each.cell.cell.stateful:
            what = "runs backwards in time" if each.cell.cell.directions > 1 else "keeps its state between calls"
            raise _cannot(each, f"has a cell that {what}", "cells run forwards, from a state of zeros")
        if each.cell.behind is not None and _rectified(each) is None:
            raise _cannot(each, "has an activation behind its cell", "EX reads a state as it is, or as its relu")
        if _rectified(each) and station.role == "output":
            raise _cannot(each, "has a relu behind the cell of an output", "give the output a station of its own")


def _rectified(each: IntegerStation) -> bool | None:
    """Whether what is read from a station is the relu of its state, False for the state itself, None for neither."""
    read = each.cell.behind if each.cell is not None else None
    if read is None or each.format is None:
        return False
    plain = read.table is None and not read.winners and not read.shift.any() and bool((read.positive == 1).all())
    if not plain or read.low > min(each.format.low, 0) or read.high < each.format.high:
        return None
    if bool((read.negative == 1).all()) or each.format.low >= 0:
        return False
    return None if read.negative.any() else True


def _cannot(each: IntegerStation, what: str, cure: str) -> PathcError:
    return error("E1050", f"the engine cannot do station `{each.station.name}`: it {what}", each.station.loc, help=cure)


def _plan(network: IntegerNetwork, machine: Machine, each: IntegerStation, plans: dict[str, Plan]) -> Plan:
    into, units = network.into[each.station.name], each.station.units
    if each.station.role == "input":
        if into:
            raise _cannot(each, "is an input that paths lead to", "add a station behind it")
        return Plan(_input_layout(network, machine, each), (), 0)
    layouts = [_layout(machine, into, units, plans)]
    if each.cell is not None:
        layouts += [natural(units, machine.lanes), side_by_side(units, machine.lanes)]
    found = [_laid(network, machine, each, layout, plans) for layout in layouts]
    return min(found, key=lambda plan: cost(plan.works))


def _laid(
    network: IntegerNetwork, machine: Machine, each: IntegerStation, layout: Layout, plans: dict[str, Plan]
) -> Plan:
    """The plan of a station in one layout."""
    junctions: list[Junction] = []
    work = 0
    for one in network.into[each.station.name]:
        source = network.station(one.junction.source)
        name = one.junction.tensor or f"skip {one.junction.source}"
        number = one.junction.number if isinstance(one.junction, PathJunction) else 0
        order = next(
            (o for o in network.graph.facts_of(Order) if f"{o.line}.{o.junction}" == one.junction.tensor), None
        )
        blocks = order is not None and order.kind in ("blocks", "stall") and number > 0
        works = _works(machine, one, plans[source.station.name].layout, layout, source.station.real_units, blocks)
        assert source.format is not None
        format = _stored(one.format)
        positive = source.format.low >= 0
        junctions.append(Junction(name, source.station.name, format, positive, tuple(works), bool(_rectified(source))))
        work += int(one.weights.size)
    if each.cell is None or each.format is None:
        return Plan(layout, tuple(junctions), work)
    about, (weights,) = each.cell.cell, each.cell.weights
    into, seen = structure_edges(about.recur, about.hidden, about.loc)
    own = tuple(matrix_works(into, seen, weights, layout))
    state = Junction(about.tensors[0], about.station, _stored(each.cell.format), each.format.low >= 0, own)
    return Plan(layout, tuple(junctions), work, state, len(weights))


def _stored(format: Format) -> str:
    """The format in which weights are streamed."""
    return format.type.name if format.type.name in FORMATS else "i8"


def _input_layout(network: IntegerNetwork, machine: Machine, each: IntegerStation) -> Layout:
    """Where inputs lie: bank after bank, or where paths from them find the units of a cell bank after bank.

    BAND needs that of the units of a cell, and inputs may lie anywhere.
    """
    units = each.station.units
    for other in network.stations:
        for one in network.into[other.station.name] if other.cell is not None else ():
            if one.junction.source == each.station.name and isinstance(one.junction, PathJunction):
                ends = [one.junction.generator.affine(one.junction.number - k) for k in (1, 0)]
                if ends[0] is not None and ends[1] is not None:
                    banks = banks_for(ends[0], ends[1], (units, other.station.units), machine.lane_bits)
                    if banks is not None:
                        return linear(banks, units)
    return natural(units, machine.lanes)


def _layout(machine: Machine, into: tuple[IntegerJunction, ...], units: int, plans: dict[str, Plan]) -> Layout:
    """That of the first junction that PATH can do, or of a dense block, or else the map `high`."""
    for one in into:
        if isinstance(one.junction, PathJunction):
            generator, number = one.junction.generator, one.junction.number
            source, target = generator.affine(number - 1), generator.affine(number)
            if source is not None and target is not None:
                below = plans[one.junction.source].layout
                lanes = lanes_of(source, target, below, units, machine.lane_bits)
                if lanes is not None:
                    return linear(lanes.banks, units)
    if any(isinstance(one.junction, DenseJunction) for one in into):
        return side_by_side(units, machine.lanes)
    return natural(units, machine.lanes)


def _works(
    machine: Machine, one: IntegerJunction, below: Layout, layout: Layout, real: int, blocks: bool
) -> list[Work]:
    junction, units = one.junction, int(layout.cells.max()) + 1
    if isinstance(junction, PathJunction):
        generator, number = junction.generator, junction.number
        sources = generator.units(number - 1, 0, generator.count)
        weights = np.where(sources < real, one.weights, 0)
        source, target = generator.affine(number - 1), generator.affine(number)
        if source is not None and target is not None and layout.banks:
            lanes = lanes_of(source, target, below, units, machine.lane_bits)
            if lanes is not None and lanes.banks == layout.banks:
                return [path_work(source, target, below, layout, lanes, weights, not machine.forwarding)]
        destinations = generator.units(number, 0, generator.count)
        return [table_work(sources, destinations, weights, below, layout, blocks)]
    if isinstance(junction, DenseJunction):
        matrix = one.weights.T if junction.transposed else one.weights
        if _dense_fits(layout):
            return dense_work(matrix, below, layout)
        destinations, sources = (index.reshape(-1) for index in np.indices(matrix.shape))
        return [table_work(sources, destinations, matrix.reshape(-1), below, layout, False)]
    return [table_work(*_pieces(one.weights[:real]), below, layout, False)]


def _dense_fits(layout: Layout) -> bool:
    """Whether lanes that hold the same unit differ in the top bits only, as DENSE reads banks."""
    width = layout.cells.shape[1] >> len(layout.folds)
    return all(mask >= width for mask in layout.folds)


def _pieces(factors: Int64) -> tuple[Int64, Int64, Int64]:
    """Edges of unit u to unit u whose weights of 8 bits add up to its factor; E1050 if that takes too many."""
    most = int(np.abs(factors).max(initial=0))
    if most > _LARGEST * _MOST_PIECES:
        message = f"a skip has the factor {most}, more than {_MOST_PIECES} weights of 8 bits add up to"
        raise error("E1050", message, help="quantize the source of the skip finer")
    units, weights, rest = list[Int64](), list[Int64](), factors.copy()
    while not units or rest.any():
        part = np.clip(rest, -_LARGEST, _LARGEST)
        own = np.flatnonzero(part) if rest.any() else np.zeros(1, np.int64)
        units.append(own)
        weights.append(part[own])
        rest -= part
    return np.concatenate(units), np.concatenate(units), np.concatenate(weights)
