"""Junction matrices as SVG, side by side: units in natural order and in the order in which paths address them.

In the second order the dense blocks of a linear junction stand on the diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pathc.ir.blocks import Places
from pathc.ir.facts import Blocks
from pathc.ir.generators import Generator, resolve
from pathc.ir.generators.base import UnitArray
from pathc.ir.graph import Graph, Line
from pathc.support.diagnostics import error
from pathc.viz.palette import SHADES
from pathc.viz.svg import Drawing, runs, shorten, text_width

MOST_PATHS = 1 << 20
"""Paths of a junction that are drawn; those behind them are left out, which the picture says."""
MOST_UNITS = 1 << 24
CELLS = 128
"""Most cells on a side; larger matrices are drawn in cells of several units."""
_SIDE = 384.0
_MOST_JUNCTIONS = 32


@dataclass(frozen=True)
class Orders:
    """Where the units of a junction stand: int64 [sources], int64 [destinations], and how that order is called."""

    sources: UnitArray
    destinations: UnitArray
    name: str


def matrices(graph: Graph) -> str:
    """The matrices of all junctions of path lines as SVG, one row a junction.

    Rows are destinations, columns are sources; `Blocks` facts give the second order. Raises PathcError E1204 if
    there is no junction of paths or there are more than 32, E1203 if a station has more than 2^24 units.
    """
    junctions = [(line, j) for line in graph.lines if line.kind == "paths" for j in line.junctions]
    if not 1 <= len(junctions) <= _MOST_JUNCTIONS:
        text = f"`{graph.name}` has {len(junctions)} junctions of paths, matrices are drawn for 1 to {_MOST_JUNCTIONS}"
        raise error("E1204", text, graph.loc, help="draw a part of the net")
    drawing = Drawing(f"junction matrices of {graph.name}")
    drawing.text(24, 34, shorten(graph.name, 60), size=19, bold=True)
    y = 64.0
    for line, junction in junctions:
        y = _row(drawing, graph, line, junction, y)
    drawing.height = y
    return drawing.render()


def edges(generator: Generator, junction: int) -> tuple[UnitArray, UnitArray, int]:
    """Sources and destinations of the drawn paths, int64 [paths], and how many paths are left out.

    Raises PathcError E1203 for more than 2^24 units.
    """
    units = max(generator.sizes[junction - 1 : junction + 1])
    if units > MOST_UNITS:
        text = f"a matrix of {units} units on a side is too large to be drawn, {MOST_UNITS} are not"
        raise error("E1203", text, help="lower the number of units")
    stop = min(generator.count, MOST_PATHS)
    return generator.units(junction - 1, 0, stop), generator.units(junction, 0, stop), generator.count - stop


def address_order(graph: Graph, line: Line, junction: int, src: UnitArray, dst: UnitArray) -> Orders:
    """Units sorted by dense block, or where there is none, by the first path that visits them."""
    sources, destinations = (graph.station(v.station).units for v in line.visits[junction - 1 : junction + 1])
    facts = [f for f in graph.facts_of(Blocks) if (f.line, f.junction) == (line.name, junction)]
    if facts:
        places = Places.of(max(facts, key=lambda fact: fact.length))
        block, column = places.of_sources(np.arange(sources))
        target, row = places.of_destinations(np.arange(destinations))
        first = _rank(block * places.blocks.fan_in + column, src)
        second = _rank(target * places.blocks.fan_out + row, dst)
        return Orders(first, second, "path-address order: by dense block")
    return Orders(_first_visits(src, sources), _first_visits(dst, destinations), "in the order of the first visits")


def image(src: UnitArray, dst: UnitArray, sources: int, destinations: int) -> NDArray[np.float64]:
    """Share of the pairs in each cell that are edges: float64 of shape [rows, columns], at most CELLS each."""
    keys = np.unique(dst * sources + src)
    rows, columns = min(destinations, CELLS), min(sources, CELLS)
    row, column = keys // sources * rows // destinations, keys % sources * columns // sources
    counts = np.bincount(row * columns + column, minlength=rows * columns).reshape(rows, columns)
    pairs = np.outer(_widths(destinations, rows), _widths(sources, columns))
    return counts / pairs


def _widths(units: int, cells: int) -> NDArray[np.int64]:
    return np.bincount(np.arange(units) * cells // units, minlength=cells)


def _rank(keys: UnitArray, visited: UnitArray) -> UnitArray:
    """Place of every unit when sorted by key, those that no path visits behind all others."""
    seen = np.zeros(len(keys), bool)
    seen[visited] = True
    order = np.lexsort((keys, ~seen))
    return _inverse(order)


def _first_visits(visited: UnitArray, units: int) -> UnitArray:
    first = np.full(units, len(visited), np.int64)
    np.minimum.at(first, visited, np.arange(len(visited)))
    return _inverse(np.argsort(first, kind="stable"))


def _inverse(order: UnitArray) -> UnitArray:
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place


def _row(drawing: Drawing, graph: Graph, line: Line, junction: int, y: float) -> float:
    source, destination = (graph.station(v.station) for v in line.visits[junction - 1 : junction + 1])
    src, dst, left_out = edges(resolve(line, graph), junction)
    orders = address_order(graph, line, junction, src, dst)
    head = f"{line.name}.{junction}  {source.name} to {destination.name}: {len(src):,} paths"
    drawing.text(24, y, shorten(head + (f" ({left_out:,} more left out)" if left_out else ""), 110), bold=True)
    drawing.width = max(drawing.width, 3 * 24 + 2 * _SIDE + 40, 48 + text_width(shorten(head, 110), 14))
    heights = 0.0
    for number_, (a, b, name) in enumerate(
        ((src, dst, "natural order"), (orders.sources[src], orders.destinations[dst], orders.name))
    ):
        x = 48 + number_ * (_SIDE + 40)
        shares = image(a, b, source.units, destination.units)
        heights = max(heights, _matrix(drawing, shares, x, y + 40))
        drawing.text(x, y + 22, name, size=12, role="soft")
        drawing.text(x, y + 36, shorten(f"{source.units:,} {source.name}", 40), size=11, role="soft")
        rows = shorten(f"{destination.units:,} {destination.name}", 24)
        drawing.text(x - 6, y + 40, rows, size=11, anchor="end", role="soft", turn=-90)
    return y + 40 + max(heights, 90) + 42


def _matrix(drawing: Drawing, shares: NDArray[np.float64], x: float, y: float) -> float:
    """Draw one matrix in five shades; returns its height. Cells of one row and shade are merged."""
    rows, columns = shares.shape
    unit = _SIDE / max(rows, columns)
    drawing.add("rect", x=x, y=y, width=columns * unit, height=rows * unit, class_="paper")
    steps = len(SHADES)
    level = np.where(shares > 0, np.minimum((shares * steps).astype(np.int64), steps - 1), -1)
    drawing.open("cells", transform=f"translate({x:g} {y:g}) scale({unit:.6g})")
    for shade in range(steps):
        cells = [
            (int(column), int(row), _length(level[row], int(column)))
            for row, column in zip(*np.nonzero(_starts(level == shade)), strict=True)
        ]
        if cells:
            drawing.add("path", d=runs(cells), class_=f"q{shade}", shape_rendering="crispEdges")
    drawing.close()
    drawing.add("rect", x=x, y=y, width=columns * unit, height=rows * unit, class_="frame")
    return rows * unit


def _starts(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    starts = mask.copy()
    starts[:, 1:] &= ~mask[:, :-1]
    return starts


def _length(row: NDArray[np.int64], start: int) -> int:
    different = np.flatnonzero(row[start:] != row[start])
    return int(different[0]) if len(different) else len(row) - start
