"""The receptive-field fan as SVG: how much of every station one output unit hears."""

from __future__ import annotations

from itertools import groupby

from pathc.ir.graph import Graph
from pathc.viz.layout import BAR, Bar, Plan, plan
from pathc.viz.metro import detour, place
from pathc.viz.palette import SHADES
from pathc.viz.reach import Mask, receptive_field
from pathc.viz.svg import Drawing, shorten, text_width

_MOST_CELLS = 64


def fan(graph: Graph, station: str = "", unit: int = 0) -> str:
    """The fan of a unit of `station` (the last output if empty) as SVG.

    Bars are shaded by the share of the units in a place that are heard. Errors: E1201 to E1203.
    """
    heard = receptive_field(graph, station, unit)
    chosen = station or (graph.outputs or graph.stations)[-1].name
    where = plan(graph)
    drawing = Drawing(f"receptive field of {chosen}[{unit}] in {graph.name}")
    drawing.text(24, 34, shorten(f"{graph.name}: what {chosen}[{unit}] hears", 90), size=19, bold=True)
    _fans(drawing, graph, where, heard)
    for bar in where.bars.values():
        drawing.open("station", place(bar.station.loc))
        _bar(drawing, bar, heard[bar.station.name])
        drawing.close()
    y = where.height + 24
    for number in range(len(SHADES)):
        drawing.add("rect", x=24 + 22 * number, y=y - 12, width=22, height=14, class_=f"q{number}")
    drawing.text(24 + 22 * len(SHADES) + 10, y, "few to all of the units in a place are heard", size=12, role="soft")
    drawing.width = max(where.width, 470, 48 + text_width(f"{graph.name}: what {chosen}[{unit}] hears", 19))
    drawing.height = y + 20
    return drawing.render()


def _fans(drawing: Drawing, graph: Graph, where: Plan, heard: dict[str, Mask]) -> None:
    """Between two stations, a shape from all that is heard on the left to all on the right."""
    for line in graph.lines:
        for junction in line.junctions:
            source, destination = (where.bars[v.station] for v in line.visits[junction - 1 : junction + 1])
            left, right = _reach(source, heard), _reach(destination, heard)
            if left is None or right is None:
                continue
            lane = where.lane(line, junction)
            if lane is not None:
                drawing.polyline(detour(source, destination, lane), "l0", f"{line.name}.{junction}", 2)
                continue
            x, end = source.x + BAR / 2, destination.x - BAR / 2
            corners = [(x, left[0]), (end, right[0]), (end, right[1]), (x, left[1])]
            drawing.polygon(corners, "b0", f"{line.name}.{junction}")


def _reach(bar: Bar, heard: dict[str, Mask]) -> tuple[float, float] | None:
    """Top and bottom of what is heard of a station."""
    units = heard[bar.station.name].nonzero()[0]
    if not len(units):
        return None
    half = bar.height / bar.station.units / 2
    return bar.unit(int(units[0])) - half, bar.unit(int(units[-1])) + half


def _bar(drawing: Drawing, bar: Bar, heard: Mask) -> None:
    units = len(heard)
    cells = min(units, _MOST_CELLS)
    left, inner = bar.x - BAR / 2, BAR - 3
    count = int(heard.sum())
    tip = f"{bar.station.name}: {count:,} of {units:,} units"
    drawing.add("rect", tip, x=left, y=bar.top, width=BAR, height=bar.height, rx=3, class_="bar")
    height = (bar.height - 3) / cells
    levels = [_level(float(heard[c * units // cells : (c + 1) * units // cells].mean())) for c in range(cells)]
    cell = 0
    for level, same in groupby(levels):
        length = len(list(same))
        if level >= 0:
            y = bar.top + 1.5 + height * cell
            drawing.add("rect", x=left + 1.5, y=y, width=inner, height=height * length, class_=f"q{level}")
        cell += length
    drawing.text(bar.x, bar.top - 10, bar.name, size=14, anchor="middle", bold=True)
    drawing.text(bar.x, bar.bottom + 17, f"{count:,} of {units:,}", size=12, anchor="middle", role="soft")
    drawing.text(bar.x, bar.bottom + 34, f"{count / units:.2%}", size=12, anchor="middle", role="soft")


def _level(share: float) -> int:
    """The shade of a share, -1 for none."""
    return min(int(share * len(SHADES)), len(SHADES) - 1) if share else -1
