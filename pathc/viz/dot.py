"""The metro map as a DOT text for Graphviz: stations as nodes, one edge a junction."""

from __future__ import annotations

import math

from pathc.ir.facts import Blocks
from pathc.ir.graph import Graph, Line
from pathc.viz.layout import brief
from pathc.viz.metro import is_recurrent
from pathc.viz.palette import LINES


def dot(graph: Graph) -> str:
    """The stations and junctions of a graph; thicker edges carry more paths. Texts are quoted."""
    lines = [f"digraph {quote(graph.name)} {{", "  rankdir=LR; node [shape=box];"]
    for station in graph.stations:
        units = " x ".join(map(str, (station.real_units, *station.shape[1:])))
        stages = [brief(stage) for stage in station.pipeline]
        lines.append(f"  {quote(station.name)} [label={quote(chr(10).join((station.name, units, *stages)))}];")
        if is_recurrent(station):
            lines.append(f"  {quote(station.name)} -> {quote(station.name)} [style=bold];")
    colours = [line.name for line in graph.lines if line.kind == "paths"]
    for line in graph.lines:
        colour = LINES[colours.index(line.name) % len(LINES)] if line.kind == "paths" else "#55626f"
        for junction in line.junctions:
            source, destination = (quote(v.station) for v in line.visits[junction - 1 : junction + 1])
            lines.append(f"  {source} -> {destination} [{_style(graph, line, junction, colour)}];")
    return "\n".join((*lines, "}", ""))


def quote(text: str) -> str:
    """A text as a quoted DOT string; a line break stays one."""
    kept = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
    escaped = kept.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _style(graph: Graph, line: Line, junction: int, colour: str) -> str:
    label = f"{line.name}.{junction}" if line.kind == "paths" else f"{line.kind} {line.name}"
    count = line.count or (graph.line(line.mirror).count if line.mirror else 0)
    facts = [f for f in graph.facts_of(Blocks) if (f.line, f.junction) == (line.name, junction)]
    blocks = [f"{fact.count} of {fact.fan_out}x{fact.fan_in}" for fact in facts[:1]]
    texts = [label, *([f"{count} paths"] if count else []), *blocks]
    width = 1 + math.log2(count + 1) / 4 if line.kind == "paths" else 1
    dashed = ", style=dashed" if line.kind == "skip" else ""
    return f'label={quote(chr(10).join(texts))}, color="{colour}", penwidth={width:.1f}{dashed}'
