"""What must meet where stations have extents, and where a stage asks for more than a shape."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pathc.ir.catalogue import options_of
from pathc.ir.cells import cell_stage, without_cells
from pathc.ir.extents import POOLS, pooled_extents, read_extents
from pathc.ir.filters import filter_of, groups_of, taps_of
from pathc.ir.graph import Graph, Line, Station
from pathc.ir.sequences import step_problems, unrolls
from pathc.support.diagnostics import Diagnostic


def misfits(graph: Graph) -> list[Diagnostic]:
    """What does not meet between stations with extents, and in stages that ask for more than a shape: E0315."""
    into: dict[str, list[tuple[Line, Station]]] = {station.name: [] for station in graph.stations}
    for line in graph.lines:
        for number in line.junctions:
            into[line.visits[number].station].append((line, graph.station(line.visits[number - 1].station)))
    found: list[Diagnostic] = []
    for station in graph.stations:
        try:
            read_extents(station)
        except ValueError as reason:
            found.append(Diagnostic("E0315", f"a pool of `{station.name}` does not fit: {reason}", station.loc))
    if found:
        return found
    for station in graph.stations:
        problems = [p for line, source in into[station.name] if (p := _junction_problem(line, source, station))]
        problems.extend(_station_problems(station, into[station.name]))
        if cell_stage(station) is not None:
            problems.extend(_cell_problems(station, into[station.name]))
        found.extend(Diagnostic("E0315", text, station.loc, help=help) for text, help in problems)
    found.extend(Diagnostic("E0315", text, at.loc, help=help) for at, text, help in step_problems(graph))
    return found


def _junction_problem(line: Line, source: Station, station: Station) -> tuple[str, str] | None:
    """What is wrong between two stations, and the cure."""
    if line.kind == "skip":
        return None
    try:
        geometry = filter_of(source, station)
    except ValueError as reason:
        return f"line `{line.name}` does not fit: {reason}", "give both stations the same extents, or a convolution"
    groups = groups_of(station)
    if line.kind == "paths":
        if groups != 1:
            return (
                f"paths lead into the groups of `{station.name}`",
                "groups are for dense lines; paths choose channels",
            )
        if geometry is None and math.prod(read_extents(source)) * math.prod(station.shape[1:]) != 1:
            text = f"the paths choose channels of `{source.name}` or `{station.name}`, but the other has none"
            return text, "end in `avgpool(global)`, or use a dense line"
    elif station.real_units % groups or source.real_units % groups:
        channels = f"{source.real_units} channels of `{source.name}` and {station.real_units} of `{station.name}`"
        return f"{groups} groups do not divide {channels}", "use a number of groups that divides both"
    if line.tied and geometry is not None and (line.kind == "dense" or taps_of(station) != taps_of(source)):
        return f"line `{line.name}` shares its weights with a line of other filters", "give it weights of its own"
    return None


def _station_problems(station: Station, entering: list[tuple[Line, Station]]) -> Iterator[tuple[str, str]]:
    names = [stage.name for stage in station.pipeline]
    for name, what in (("batchnorm", "normalizations"), ("shortcut", "shortcuts"), ("steps", "stages `steps`")):
        if names.count(name) > 1:
            yield f"`{station.name}` has two {what}", "use a further station"
    if "shortcut" in names:
        other = next((name for name in ("concat", "ode") if name in names), "")
        if other:
            yield f"`{station.name}` has a shortcut and `{other}`", "use a further station"
        elif {line.kind == "skip" for line, _ in entering} != {True, False}:
            text = f"the shortcut of `{station.name}` adds what a skip brings to what other lines bring"
            yield text, "lead both into it, or leave `shortcut` out"
    for stage in station.pipeline:
        groups = options_of(stage).get("groups", 1)
        if stage.name == "channelshuffle" and isinstance(groups, int) and station.real_units % groups:
            yield f"{groups} groups do not divide {station.real_units} channels of `{station.name}`", ""
    if "concat" in names:
        heard = sum(source.real_units for _, source in entering)
        if any(line.kind != "skip" for line, _ in entering):
            yield f"`{station.name}` sets lines side by side, but not all of them are skips", "lead skips into it"
        elif any(read_extents(source) != station.shape[1:] for _, source in entering):
            yield f"what enters `{station.name}` has not its extents", "set channels of equal extents side by side"
        elif heard != station.real_units:
            yield f"{heard} channels enter `{station.name}`, which has {station.real_units}", "make the numbers equal"
    if "ode" in names and cell_stage(station) is None:
        sources = {source.name: source for _, source in entering}
        shapes = {(source.units, source.real_units, *read_extents(source)) for source in sources.values()}
        if len(sources) != 1:
            text = f"the equation of `{station.name}` begins at one station, {len(sources)} lead into it"
            yield text, "lead all lines from the station that holds the first state"
        elif shapes != {(station.units, station.real_units, *station.shape[1:])}:
            yield f"`{station.name}` has not the shape of `{next(iter(sources))}`, where it begins", "make them equal"
        before = station.pipeline[: names.index("ode")]
        if any(stage.name in POOLS for stage in before):
            yield f"a pool in the equation of `{station.name}` makes its state smaller", "pool behind `ode`"


def _cell_problems(station: Station, entering: list[tuple[Line, Station]]) -> Iterator[tuple[str, str]]:
    extents = pooled_extents(station)
    if math.prod(extents) > 1:
        text = f"the cell of `{station.name}` stands behind extents of {'x'.join(map(str, extents))}"
        yield text, "a cell has one number for each unit: end in `avgpool(global)` in front of it"
    stage = cell_stage(station)
    name = "" if stage is None else str(options_of(stage).get("cell", stage.name))
    if name == "sru" and len(station.shape) > 1 and any(line.kind == "skip" for line, _ in entering):
        yield f"the highway of the sru `{station.name}` would have extents", "lead the skip into a flat station"


def plain_only(graph: Graph, who: str) -> list[Diagnostic]:
    """What `who` ("the engine has") cannot take of nets that go beyond flat stations without cells: E0376, E0379."""
    return [*without_cells(graph, who), *flat_only(graph, who)]


def unscaled_only(graph: Graph, who: str) -> list[Diagnostic]:
    """E0379 for lines with weights and a scale beside them, where `who` has no such factor."""
    return [
        Diagnostic("E0379", f"`{line.name}` scales what its weights carry, {who} no such factor", line.loc,
                   help="multiply the weights by it, or use another target: `reference`, `llvm`, `cuda`")
        for line in graph.lines if line.kind != "skip" and line.scale != 1.0
    ]  # fmt: skip


def without_steps(graph: Graph, who: str) -> list[Diagnostic]:
    """E0379 for stations whose last extent becomes time, where `who` has no such thing."""
    return [
        Diagnostic("E0379", f"`{station.name}` has the stage `steps`, {who} no sequences", station.loc, help=_ELSEWHERE)
        for station in graph.stations if unrolls(station)
    ]  # fmt: skip


def flat_only(graph: Graph, who: str) -> list[Diagnostic]:
    """E0379 for stations with extents, stages that only nets of them have, and scaled lines, which `who` lacks."""
    found = unscaled_only(graph, who)
    for station in graph.stations:
        what = [f"stage `{stage.name}`" for stage in station.pipeline if stage.name in BEYOND]
        if len(station.shape) > 1:
            what.append(f"extents {list(station.shape[1:])}")
        if what:
            text = f"`{station.name}` has the {what[0]}, {who} neither extents nor what belongs to them"
            found.append(Diagnostic("E0379", text, station.loc, help=_ELSEWHERE))
    return found


BEYOND = ("conv", "batchnorm", *POOLS, "concat", "channelshuffle", "shortcut", "steps", "ode")
"""Stages that stations with extents may have, or that few targets know."""
_ELSEWHERE = "the targets `reference`, `llvm`, `tvm-llvm` and `cuda` have convolutions and what belongs to them"
