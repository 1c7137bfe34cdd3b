"""The metro map of a graph as SVG: stations are bars with their units, lines run through them.

Few paths are drawn one by one; of many, a band shows where they run and a few of them how. So a picture of 2^40
paths is as small as one of 64.
"""

from __future__ import annotations

from itertools import pairwise

from pathc.ir.catalogue import find
from pathc.ir.facts import Bank, Blocks
from pathc.ir.generators import Generator, resolve
from pathc.ir.graph import Graph, Line, Station
from pathc.support.source import Loc
from pathc.viz.banks import draw_banks, legend_of_banks
from pathc.viz.layout import BAR, Bar, Plan, plan
from pathc.viz.palette import LINES
from pathc.viz.svg import Drawing, Point, shorten, text_width

MOST_PATHS = 64
"""A line of at most so many paths is drawn path by path."""
SAMPLE = 16
"""Paths drawn of a line that has more."""
_MOST_UNITS = 32
_LONGEST_TEXT = 150


def metro(graph: Graph) -> str:
    """The map of a verified graph as SVG.

    A line has a colour, a recurrence is a loop on its station, a junction that leads past a column runs below the
    bars, banks colour the bars once the graph has `Bank` facts. Errors: E1201, and those of the generators.
    """
    where = plan(graph)
    drawing = Drawing(f"metro map of {graph.name}")
    colours = {line.name: n % len(LINES) for n, line in enumerate(one for one in graph.lines if one.kind == "paths")}
    for line in graph.lines:
        drawing.open("line", place(line.loc))
        _draw_line(drawing, graph, line, where, colours.get(line.name, 0))
        drawing.close()
    banks = {fact.station: fact for fact in graph.facts_of(Bank)}
    for bar in where.bars.values():
        drawing.open("station", place(bar.station.loc))
        _draw_station(drawing, bar, banks.get(bar.station.name))
        drawing.close()
    stations, lines = len(graph.stations), len(graph.lines)
    drawing.text(24, 34, shorten(graph.name, 60), size=19, bold=True)
    drawing.text(
        24, 54, f"{stations} {'station' if stations == 1 else 'stations'}, {lines} {'line' if lines == 1 else 'lines'}",
        size=12, role="soft",
    )  # fmt: skip
    _legend(drawing, graph, where, colours)
    return drawing.render()


def place(loc: Loc | None) -> str:
    """The line of the text a thing was made from, as a page shows it; empty if there is none."""
    return str(loc.line) if loc else ""


def drawn_paths(generator: Generator) -> list[int]:
    """The paths that a picture shows: all of few, or a handful spread over the index."""
    if generator.count <= MOST_PATHS:
        return list(range(generator.count))
    if generator.affine(0) is not None:
        return list(range(SAMPLE))
    golden = 0.6180339887498949
    return sorted({int(n * golden % 1.0 * generator.count) for n in range(1, SAMPLE + 1)})


def _draw_line(drawing: Drawing, graph: Graph, line: Line, where: Plan, colour: int) -> None:
    bars = [where.bars[visit.station] for visit in line.visits]
    for junction in line.junctions:
        source, destination = bars[junction - 1 : junction + 1]
        lane = where.lane(line, junction)
        tip = f"{line.name}.{junction}: {source.station.name} to {destination.station.name}"
        if lane is not None:
            style = {"paths": f"l{colour}", "dense": "frame", "skip": "skip"}[line.kind]
            drawing.polyline(detour(source, destination, lane), style, tip, 4 if line.kind == "paths" else 2)
        elif line.kind == "skip":
            drawing.polyline(_over(source, destination), "skip", tip)
        elif line.kind == "dense":
            drawing.polygon(band(source, destination), "dense", tip)
    if line.kind == "paths":
        _draw_paths(drawing, graph, line, where, colour)


def _draw_paths(drawing: Drawing, graph: Graph, line: Line, where: Plan, colour: int) -> None:
    generator = resolve(line, graph)
    bars = [where.bars[visit.station] for visit in line.visits]
    if generator.count > MOST_PATHS:
        for junction in line.junctions:
            if where.lane(line, junction) is None:
                drawing.polygon(band(bars[junction - 1], bars[junction]), f"b{colour}", f"{line.name}.{junction}")
    for path in drawn_paths(generator):
        units = [int(generator.units(v, path, path + 1)[0]) for v in range(len(bars))]
        seen = " ".join(f"{bar.station.name}[{unit}]" for bar, unit in zip(bars, units, strict=True))
        points: list[Point] = []
        for v, (bar, unit) in enumerate(zip(bars, units, strict=True)):
            if v and where.lane(line, v) is not None:
                _draw_path(drawing, points, colour, f"path {path}: {seen}")
                points = []
            points += [(bar.x - BAR / 2, bar.unit(unit)), (bar.x + BAR / 2, bar.unit(unit))]
        _draw_path(drawing, points, colour, f"path {path}: {seen}")


def _draw_path(drawing: Drawing, points: list[Point], colour: int, tip: str) -> None:
    if len(points) > 2:
        drawing.polyline(points, f"l{colour}", tip, 1.6)


def band(source: Bar, destination: Bar) -> list[Point]:
    """The corners of a band from all of one bar to all of another."""
    left, right = source.x + BAR / 2, destination.x - BAR / 2
    return [(left, source.top), (right, destination.top), (right, destination.bottom), (left, source.bottom)]


def detour(source: Bar, destination: Bar, lane: float) -> list[Point]:
    """A line below the bars from one to another, past what stands between them."""
    down, up = source.x + source.half + 16, destination.x - destination.half - 16
    start, end = source.top + source.height * 0.75, destination.top + destination.height * 0.75
    return [
        (source.x + BAR / 2, start), (down - 8, start), (down, start + 8), (down, lane - 8), (down + 8, lane),
        (up - 8, lane), (up, lane - 8), (up, end + 8), (up + 8, end), (destination.x - BAR / 2, end),
    ]  # fmt: skip


def _over(source: Bar, destination: Bar) -> list[Point]:
    """A line to the next column that starts and ends near the feet of the bars."""
    return [(source.x + BAR / 2, source.bottom - 5), (destination.x - BAR / 2, destination.bottom - 5)]


def _draw_station(drawing: Drawing, bar: Bar, banks: Bank | None) -> None:
    station = bar.station
    tip = f"{station.name}: {station.units:,} units" + "".join(f" | {stage}" for stage in station.pipeline)
    left = bar.x - BAR / 2
    drawing.add("rect", tip, x=left, y=bar.top, width=BAR, height=bar.height, rx=4, class_="bar")
    if banks is not None:
        draw_banks(drawing, bar, banks)
    elif station.units <= _MOST_UNITS:
        radius = min(3.2, bar.height / station.units / 2.6)
        for unit in range(station.units):
            drawing.add("circle", cx=bar.x, cy=bar.unit(unit), r=radius, class_="ink")
    if is_recurrent(station):
        _draw_loop(drawing, bar)
    drawing.text(bar.x, bar.top - (30 if is_recurrent(station) else 10), bar.name, size=14, anchor="middle", bold=True)
    for number, label in enumerate(bar.labels):
        drawing.text(bar.x, bar.bottom + 17 * (number + 1), label, size=12, anchor="middle", role="soft")


def is_recurrent(station: Station) -> bool:
    """Whether the units of a station see their own past."""
    kinds = (find(stage.name) for stage in station.pipeline)
    return any(entry is not None and entry.kind == "cell" for entry in kinds)


def _draw_loop(drawing: Drawing, bar: Bar) -> None:
    y = bar.top
    drawing.add("path", "recurrence", d=f"M{bar.x - 5:.1f} {y:.1f}c-22 -26 32 -26 10 0", class_="loop")
    drawing.add("path", d=f"M{bar.x + 5:.1f} {y:.1f}l-0.5 -8l6.5 3.5z", class_="ink")


def _legend(drawing: Drawing, graph: Graph, where: Plan, colours: dict[str, int]) -> None:
    y = where.height + 26
    widest = where.width
    for line in graph.lines:
        style = {"paths": f"l{colours.get(line.name, 0)}", "dense": "dense", "skip": "skip"}[line.kind]
        if line.kind == "dense":
            drawing.add("rect", x=24, y=y - 11, width=26, height=13, class_="dense")
        else:
            drawing.polyline([(24, y - 4), (50, y - 4)], style, width=4 if line.kind == "paths" else 2)
        texts = [_about(graph, line), *_blocks_of(graph, line)]
        for number, text in enumerate(shorten(text, _LONGEST_TEXT) for text in texts):
            drawing.text(60, y, text, size=13 if number == 0 else 12, role="ink" if number == 0 else "soft")
            widest = max(widest, 84 + text_width(text, 12))
            y += 19
        y += 4
    y, width = legend_of_banks(drawing, graph, y)
    drawing.width, drawing.height = max(widest, width), y + 8


def _about(graph: Graph, line: Line) -> str:
    if line.kind != "paths":
        ends = f"{line.visits[0].station} to {line.visits[-1].station}"
        return f"{line.kind} {line.name}: {ends}"
    count = line.count or (graph.line(line.mirror).count if line.mirror else 0)
    drawn = f"mirror of {line.mirror}" if line.mirror else str(line.generator)
    shown = f", {SAMPLE} of them drawn" if count > MOST_PATHS else ""
    return f"paths {line.name}: {count:,} {'path' if count == 1 else 'paths'}, {drawn}{shown}"


def _blocks_of(graph: Graph, line: Line) -> list[str]:
    """What is known about the dense blocks of each junction."""
    found: list[str] = []
    for junction, (source, destination) in enumerate(pairwise(visit.station for visit in line.visits), start=1):
        facts = [f for f in graph.facts_of(Blocks) if (f.line, f.junction) == (line.name, junction)]
        if facts:
            largest = max(facts, key=lambda fact: fact.length)
            many = "block" if largest.count == 1 else "blocks"
            shape = f"{largest.count:,} dense {many} of {largest.fan_out:,} x {largest.fan_in:,}"
            window = f" in paths {largest.start:,} to {largest.start + largest.length - 1:,}" if len(facts) > 1 else ""
            found.append(f"{source} to {destination}: {shape}{window}")
    return found
