"""Rules about the whole model: what flows where, and whether shapes meet. Each rule is one function."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from pathc.frontend import ast
from pathc.frontend.draft import Draft
from pathc.ir.catalogue import MAX_UNITS
from pathc.ir.extents import POOLS, conv_extents, pool_extents, read_extents, skip_extents
from pathc.ir.graph import Line, Station
from pathc.ir.types import Call
from pathc.support.diagnostics import Diagnostic, Severity, error
from pathc.support.source import Span

Findings = Iterator[Diagnostic]


def check_graph(draft: Draft) -> None:
    """Apply every rule about the flow of the model."""
    for rule in (_has_ends, _inputs_are_fed_from_outside, _outputs_are_reached, _flows_forward, _mirrors_fit,
                 _axes_make_up_stations):  # fmt: skip
        draft.diagnostics.extend(rule(draft))
    # Where a line is wrong, it is no wonder that none reaches a layer.
    if all(found.severity is not Severity.ERROR for found in draft.diagnostics):
        draft.diagnostics.extend(_layers_are_reached(draft))


def _has_ends(draft: Draft) -> Findings:
    roles = {node.role for node in draft.nodes.values()}
    for role, example in (("input", "input x[784]"), ("output", "output y[10]")):
        if role not in roles:
            yield Diagnostic("E0219", f"the model has no {role}", _end(draft), help=f"declare one: {example}")


def _end(draft: Draft) -> Span:
    statements = draft.file.statements
    return statements[-1].span if statements else draft.file.source.span(0, 0)


def _edges(draft: Draft) -> Iterator[tuple[ast.Visit, ast.Visit, ast.Line]]:
    for node in draft.line_nodes.values():
        for source, destination in pairwise(node.visits):
            yield source, destination, node


def _inputs_are_fed_from_outside(draft: Draft) -> Findings:
    for _, destination, _ in _edges(draft):
        node = draft.nodes.get(destination.station.text)
        if node is not None and node.role == "input":
            message = f"a line enters the input `{node.name.text}`"
            yield Diagnostic("E0221", message, destination.station.span, help="values of an input come from outside")


def _outputs_are_reached(draft: Draft) -> Findings:
    reached = {destination.station.text for _, destination, _ in _edges(draft)}
    for node in draft.nodes.values():
        if node.role == "output" and node.name.text not in reached:
            message = f"no line reaches the output `{node.name.text}`"
            yield Diagnostic("E0229", message, node.name.span, help=f"end a line in it: `... -> {node.name.text}`")


def _layers_are_reached(draft: Draft) -> Findings:
    reached = {destination.station.text for _, destination, _ in _edges(draft)}
    for source, _, _ in _edges(draft):
        node = draft.nodes.get(source.station.text)
        if node is not None and node.role == "layer" and node.name.text not in reached:
            message = f"a line reads the layer `{node.name.text}`, which no line reaches"
            yield Diagnostic("E0229", message, source.station.span, help="end a line in it, or make it an input")


def _flows_forward(draft: Draft) -> Findings:
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for source, destination, _ in _edges(draft):
        sorter.add(destination.station.text, source.station.text)
    try:
        sorter.prepare()
    except CycleError as cycle:
        names: list[str] = cycle.args[1]
        circle = set(pairwise(names))
        closing = [d.station.span for s, d, _ in _edges(draft) if (s.station.text, d.station.text) in circle]
        place = max(closing, key=lambda span: span.start, default=None)
        message = f"the stations form a circle: {' -> '.join(names)}"
        yield Diagnostic(
            "E0220", message, place, help="recurrence belongs into a cell: `layer h[64] : rnn(recur = full)`"
        )


def _mirrors_fit(draft: Draft) -> Findings:
    for line in draft.lines.values():
        other = draft.lines.get(line.mirror)
        if other is None:
            continue
        for node, visit in zip(draft.line_nodes[line.name].visits, reversed(other.visits), strict=True):
            own, mirrored = draft.stations.get(node.station.text), draft.stations.get(visit.station)
            if own is not None and mirrored is not None and own.units != mirrored.units:
                message = f"`{own.name}` has {own.units} units, its mirror image `{mirrored.name}` {mirrored.units}"
                yield Diagnostic("E0224", message, node.span, help=f"give `{own.name}` {mirrored.units} units")


def _axes_make_up_stations(draft: Draft) -> Findings:
    for line in draft.lines.values():
        if line.mirror:
            continue
        for node, visit in zip(draft.line_nodes[line.name].visits, line.visits, strict=True):
            station = draft.stations.get(visit.station)
            places = math.prod(axis.parts for axis in visit.axes)
            if station is not None and visit.axes and places != station.units:
                text = f"the axes {visit.drawn} have {places} places, `{station.name}` has {station.units} units"
                yield Diagnostic("E0239", text, node.span, help=f"let the sizes multiply to {station.units}")


def infer_extents(draft: Draft) -> None:
    """Give stations with a convolution their extents, in the order of flow, and check where shapes meet.

    Reports E0231, E0236, E0237. Leaves a model whose stations form a circle alone.
    """
    entering: dict[str, list[tuple[Line, ast.Visit, str]]] = {name: [] for name in draft.stations}
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for line in draft.lines.values():
        visits = draft.line_nodes[line.name].visits
        for source, destination in pairwise(visits):
            sorter.add(destination.station.text, source.station.text)
            entering[destination.station.text].append((line, destination, source.station.text))
    try:
        order = list(sorter.static_order())
    except CycleError:
        return
    unsettled: set[str] = set()
    for name in order:
        waits = unsettled.intersection(source for _, _, source in entering[name])
        if waits or draft.attempt(lambda n=name: _settle(draft, n, entering[n])) is None:
            unsettled.add(name)


def _settle(draft: Draft, name: str, entering: list[tuple[Line, ast.Visit, str]]) -> bool:
    """Settle the extents of one station whose sources are settled; raises PathcError."""
    node = draft.nodes[name]
    for line, visit, source in entering:
        if line.kind == "skip":
            continue
        arriving = _arriving(draft.stations[name], draft.stations[source], line, visit)
        known = draft.stations[name].shape[1:]
        if not known and arriving:
            draft.stations[name] = _with_extents(draft.stations[name], arriving, node)
        elif known != arriving and arriving is not None:
            message = f"`{name}` has channels of {_shown(known)}, but {_shown(arriving)} arrive from `{source}`"
            raise error("E0231", message, visit.span, help=f"make both {_shown(arriving)}")
    _check_pools(draft.stations[name], node)
    for line, visit, source in entering:
        if line.kind == "skip":
            draft.attempt(lambda s=source, v=visit: _check_skip(draft.stations[name], draft.stations[s], v))
    return True


def _arriving(station: Station, source: Station, line: Line, visit: ast.Visit) -> tuple[int, ...] | None:
    """Extents that a line brings to a station; None where it brings flat values to any extents."""
    extents = read_extents(source)
    conv = station.stage("conv")
    if conv is None:
        return _without_filter(station, source, line, visit, extents)
    if not extents:
        help = f"give `{source.name}` extents: {source.name}[{source.units}, 32x32]"
        raise error("E0231", f"`{source.name}` has no extents that a convolution could run over", visit.span, help=help)
    try:
        return conv_extents(conv, extents)
    except ValueError as reason:
        message = f"the convolution of `{station.name}` does not fit `{source.name}`: {reason}"
        raise error("E0231", message, visit.span) from None


def _without_filter(
    station: Station, source: Station, line: Line, visit: ast.Visit, extents: tuple[int, ...]
) -> tuple[int, ...] | None:
    own = station.shape[1:]
    if line.kind == "dense" and (not own or not extents):
        return None
    if own:
        return extents
    if math.prod(extents) == 1:
        return None
    message = f"the paths choose channels of `{source.name}`, but `{station.name}` has none"
    help = f"end in `avgpool(global)` on `{source.name}`, use `dense`, or give `{station.name}` a conv(...)"
    raise error("E0236", message, visit.span, help=help)


def _with_extents(station: Station, extents: tuple[int, ...], node: ast.Station) -> Station:
    if station.units * math.prod(extents) > MAX_UNITS:
        raise error("E0209", f"`{station.name}` would have more than 2^31 units", node.name.span)
    return replace(station, shape=(station.units, *extents))


def _check_pools(station: Station, node: ast.Station) -> None:
    stages = [stage for stage in node.pipeline if _stage_name(stage) in POOLS]
    pools: list[Call] = [call for call in station.pipeline if call.name in POOLS]
    extents = station.shape[1:]
    for stage, pool in zip(stages, pools, strict=True):
        if not extents:
            message = f"`{station.name}` has no extents to pool"
            raise error("E0231", message, stage.span, help="give the station a conv(...), or extents")
        try:
            extents = pool_extents(pool, extents)
        except ValueError as reason:
            raise error("E0231", f"`{pool.name}` does not fit `{station.name}`: {reason}", stage.span) from None


def _stage_name(stage: ast.Stage) -> str:
    return stage.text if isinstance(stage, ast.Name) else stage.name.text


def _check_skip(station: Station, source: Station, visit: ast.Visit) -> None:
    if station.stage("concat") is not None:
        return
    arriving, own = (source.units, *read_extents(source)), (station.units, *skip_extents(station))
    if arriving != own:
        message = f"a skip from `{source.name}` brings {_shown(arriving)} to `{station.name}`, which has {_shown(own)}"
        raise error("E0237", message, visit.span, help="a skip joins stations of the same shape")


def _shown(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) if shape else "no extents"
