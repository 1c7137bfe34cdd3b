"""A net with cells to its plan: cut at the cells, planned as any net between them, a time loop for every cell."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pathc.backends.base import Request
from pathc.backends.tvm.lower import table_form
from pathc.backends.tvm.plan import Load, NetPlan, Save
from pathc.backends.tvm.recurrent.plan import CellPlan, Feed, Form, SequencePlan
from pathc.backends.tvm.recurrent.tiles import fitted
from pathc.ir.cells import Cell, cell_of
from pathc.ir.cut import Segment
from pathc.ir.cutcells import ends_in_cell, segments_of
from pathc.ir.graph import Graph
from pathc.ir.passes import parse_pipeline
from pathc.ir.pipeline import run_passes
from pathc.ir.recurrence import band_reach, structure_edges
from pathc.support.diagnostics import did_you_mean, error

Planner = Callable[[Request, str], NetPlan]
"""Makes the plan of a flat net; the text says what is computed there."""


def plan_sequences(request: Request, planner: Planner, limit: int = 0, arch: str = "") -> SequencePlan:
    """The plan of a net with cells; `limit` are the bytes of shared memory of a block, 0 for any number.

    Raises E0377 for lines that cannot be cut, E0612 for forms that do not fit, E0666 for states that do not fit
    shared memory, and what the planner raises.
    """
    graph = request.graph
    _check_forms(graph, request.forms)
    segments = segments_of(graph, request.weights)
    held = {station.name: "x" for station in graph.inputs}
    columns = {"x": sum(s.real_units for s in graph.inputs)}
    pieces: list[Feed | CellPlan] = []
    for segment in segments:
        sums = f"sums{len(pieces)}" if segment.station else "y"
        feed = _feed(request, segment, planner, f"p{len(pieces)}", held, columns, sums)
        pieces.append(feed)
        if not segment.station:
            continue
        columns[sums] = feed.plan.outputs
        cell = cell_of(graph.station(segment.station))
        if cell is None:
            raise ValueError(f"{segment.station} is no cell")
        last = ends_in_cell(graph) and cell.station == graph.outputs[0].name
        out = held[cell.station] = "y" if last else f"cell{len(pieces)}"
        units = columns[out] = graph.station(cell.station).real_units
        plan = cell_plan(cell, f"p{len(pieces)}", units, sums, feed.plan.outputs, segment.highway, out)
        pieces.append(fitted(plan, request.batch, limit, arch))
        if plan.added:
            columns[plan.made] = 2 * units
    outputs = sum(s.real_units for s in graph.outputs)
    arrays = tuple((name, n) for name, n in columns.items() if name not in ("x", "y"))
    return SequencePlan(graph.name, tuple(pieces), columns["x"], outputs, arrays)


def cell_plan(cell: Cell, name: str, units: int, sums: str, columns: int, highway: bool, out: str) -> CellPlan:
    """The time loop of a cell, a thread for every unit and a sequence in every block."""
    form, width, reach, edges = _seen(cell)
    return CellPlan(
        name, cell, units, form, width, reach, edges, sums, columns, highway, out, cell.hidden, 1, 1, 1, False
    )  # fmt: skip


def _seen(cell: Cell) -> tuple[Form, int, int, int]:
    """Form, width, reach and edges of a cell's matrices."""
    n = cell.hidden
    if cell.recur.name == "diag" or not cell.recurrent_gates:
        return "own", 1, 0, n
    into, seen = structure_edges(cell.recur, n, cell.loc)
    edges = len(into)
    match cell.recur.name:
        case "band" if 2 * band_reach(cell.recur, n) < n:
            reach = band_reach(cell.recur, n)
            return "band", 2 * reach + 1, reach, edges
        case "ring":
            width = edges // n
            return "ring", width, (width - 1) // 2, edges
        case "full" | "grouped":
            return "dense", edges // n, 0, edges
        case _:
            width = int(np.bincount(into, minlength=n).max())
            return table_form("", width, n, edges), width, 0, len(seen)


def _feed(
    request: Request,
    segment: Segment,
    planner: Planner,
    name: str,
    held: Mapping[str, str],
    columns: Mapping[str, int],
    out: str,
) -> Feed:
    """What leads into a cell, reading from and writing to the arrays that lie between pieces."""
    graph = run_passes(segment.graph, parse_pipeline("canonical,structure"))
    forms = _forms_of(request, graph)
    part = replace(request, graph=graph, weights=segment.weights, forms=forms, batch=0)
    what = f"what leads into `{segment.station}`" if segment.station else "what leads to the outputs"
    plan = planner(part, what)
    starts = _starts(request.graph)

    def placed(op: Any) -> Any:
        op = replace(op, name=f"{name}_{op.name}")
        if isinstance(op, Load):
            array = held[op.end.station]
            return replace(op, array=array, inputs=columns[array], first=starts.get(op.end.station, 0))
        return replace(op, array=out) if isinstance(op, Save) else op

    plan = replace(plan, ops=tuple(map(placed, plan.ops)), kernel=f"{name}_{plan.kernel}")
    return Feed(plan, graph, segment.weights)


def _starts(graph: Graph) -> dict[str, int]:
    """First column of every input station."""
    starts, at = dict[str, int](), 0
    for station in graph.inputs:
        starts[station.name] = at
        at += station.real_units
    return starts


def _check_forms(graph: Graph, forms: Mapping[str, str]) -> None:
    """E0612 for a junction that the net does not have."""
    known = [f"{line.name}.{number}" for line in graph.lines for number in line.junctions]
    for junction in forms:
        if junction != "*" and junction not in known:
            help = did_you_mean(junction, known) or f"junctions: {', '.join(known)}"
            raise error("E0612", f"there is no junction `{junction}`", graph.loc, help=help)


def _forms_of(request: Request, graph: Graph) -> dict[str, str]:
    """Forms of the pieces of lines, which are named by line, number of the junction and copy."""
    found = {"*": request.forms["*"]} if "*" in request.forms else {}
    for junction, form in request.forms.items():
        piece = re.compile(re.escape(junction.replace(".", "_")) + r"(x\d+)?")
        found |= {f"{line.name}.1": form for line in graph.lines if piece.fullmatch(line.name)}
    return found
