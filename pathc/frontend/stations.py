"""Statements `input`, `layer` and `output` to stations."""

from __future__ import annotations

import math
from dataclasses import replace

from pathc.frontend import ast
from pathc.frontend.attributes import STATION_ATTRIBUTES, collect, option_of
from pathc.frontend.draft import Draft
from pathc.frontend.scope import evaluate
from pathc.frontend.values import call_value, option_value, scalar_type
from pathc.ir.catalogue import MAX_UNITS, STAGE_KINDS, find, options_of
from pathc.ir.cells import cell_stage, misplaced
from pathc.ir.graph import Station
from pathc.ir.types import F32, Call, Quantity, ScalarType, Size, Value, Word
from pathc.support.diagnostics import PathcError, error

_ONCE = ("conv", "cell", "bias", "ode")


def lower_station(draft: Draft, node: ast.Station) -> Station | None:
    """The station of a statement, extents of convolutions still open, or None after reporting mistakes."""
    subject = f"{node.role} {node.name.text}"
    known = len(draft.diagnostics)
    shape = draft.attempt(lambda: _shape(draft, node))
    kind, stages = _split_type(draft, node)
    pipeline = [call for stage in stages if (call := draft.attempt(lambda s=stage: _stage(draft, s))) is not None]
    if len(pipeline) == len(stages):
        _check_pipeline(draft, node, stages, pipeline)
    attributes = collect(draft, node.attributes, STATION_ATTRIBUTES, node.role)
    pad = _pad(draft, attributes)
    if shape is None or len(pipeline) < len(stages) or len(draft.diagnostics) > known:
        return None
    if kind is None:
        draft.default(node.name.span, subject, "type", F32, "none is given")
    if draft_has_no(pipeline, "bias") and node.role != "input":
        draft.default(node.name.span, subject, "bias", "none", "`bias |` is not in the pipeline")
    declared = 0
    units = shape[0]
    if pad and units & (units - 1):
        declared, units = units, 1 << units.bit_length()
    place = node.span.place
    station = Station(
        node.name.text, node.role, (units, *shape[1:]), kind or F32, tuple(pipeline), declared, node.doc, place
    )
    _check_cell(draft, stages, station)
    draft.attempt(lambda: _check_fit(node, stages, station))
    return station if len(draft.diagnostics) == known else None


def draft_has_no(pipeline: list[Call], name: str) -> bool:
    """True if no stage has that name."""
    return all(call.name != name for call in pipeline)


def _shape(draft: Draft, node: ast.Station) -> tuple[int, ...]:
    """(channels, extents...) of a station."""
    if len(node.extents) > 3:
        help = "channels and the extents of each: `image[3, 32x32]`"
        raise error("E0208", "a station has units, or channels and extents", node.extents[3].span, help=help)
    shape: list[int] = []
    for position, extents in enumerate(node.extents):
        if position and isinstance(extents, ast.Number) and isinstance(extents.value, Size):
            shape.extend(extents.value.extents)
        else:
            shape.append(_count(draft, extents))
        if len(shape) > 3:
            raise error("E0208", "channels have at most two extents", extents.span, help="height x width: `32x32`")
        if min(shape) < 1:
            raise error("E0209", "an extent must be at least 1", extents.span)
    if math.prod(shape) > MAX_UNITS:
        raise error("E0209", f"a station may have at most 2^31 units, not {math.prod(shape)}", node.name.span)
    return tuple(shape)


def _count(draft: Draft, node: ast.Expression) -> int:
    value = evaluate(node, draft.scope)
    if not isinstance(value, int):
        raise error("E0208", f"a number of units must be an integer, not {value:.6g}", node.span)
    if value < 1:
        raise error("E0209", f"a station needs at least one unit, not {value}", node.span)
    if value > MAX_UNITS:
        raise error("E0209", f"a station may have at most 2^31 units, not {value}", node.span)
    return value


def _split_type(draft: Draft, node: ast.Station) -> tuple[ScalarType | None, tuple[ast.Stage, ...]]:
    if not node.pipeline:
        return None, ()
    try:
        kind = scalar_type(node.pipeline[0])
    except PathcError as mistake:
        draft.diagnostics.extend(mistake.diagnostics)
        return None, node.pipeline[1:]
    return kind, node.pipeline[1:] if kind is not None else node.pipeline


def _stage(draft: Draft, node: ast.Stage) -> Call:
    name = node if isinstance(node, ast.Name) else node.name
    if find(name.text, STAGE_KINDS) is None and scalar_type(node) is not None:
        raise error("E0230", "the type comes first in the pipeline", node.span, help=f"`: {name.text} | ...`")
    return call_value(node, STAGE_KINDS, "stage", draft.scope)


def _pad(draft: Draft, attributes: dict[str, ast.Attribute]) -> bool:
    if "pad" not in attributes:
        return False
    option = option_of(STATION_ATTRIBUTES, "pad")
    value = draft.attempt(lambda: option_value(option, attributes["pad"].value, draft.scope))
    return value == Word("pow2")


def _check_pipeline(draft: Draft, node: ast.Station, stages: tuple[ast.Stage, ...], pipeline: list[Call]) -> None:
    seen: dict[str, str] = {}
    for position, (stage, call) in enumerate(zip(stages, pipeline, strict=True)):
        entry = find(call.name, STAGE_KINDS)
        kind = entry.kind if entry else ""
        if kind in _ONCE and kind in seen:
            draft.report(
                "E0230", f"a second `{call.name}` after `{seen[kind]}`", stage.span, help="use a further station"
            )
        if kind == "conv" and position:
            draft.report(
                "E0230",
                "`conv` comes first: it is what the paths carry",
                stage.span,
                help=f"`: {call.name}(...) | ...`",
            )
        if node.role == "input" and (kind in ("conv", "cell", "ode") or call.name == "concat"):
            draft.report(
                "E0230",
                f"an input cannot have `{call.name}`: no line enters it",
                stage.span,
                help="use a layer behind it",
            )
        seen[kind] = call.name


def _check_cell(draft: Draft, stages: tuple[ast.Stage, ...], station: Station) -> None:
    """Report what stands in the wrong place beside a cell: E0372 to E0374."""
    stage = cell_stage(station)
    if stage is not None:
        span = stages[station.pipeline.index(stage)].span
        for found in misplaced(station):
            draft.diagnostics.append(replace(found, place=span))


def _check_fit(node: ast.Station, stages: tuple[ast.Stage, ...], station: Station) -> None:
    """Raise E0209 or E0232 where a stage does not fit the units of its station."""
    for stage, call in zip(stages, station.pipeline, strict=True):
        options = options_of(call)
        units = station.units
        if call.name == "kwinners" and _whole(options["k"]) > units:
            message = f"`kwinners` keeps {options['k']} of {units} units"
            raise error("E0209", message, stage.span, help=f"k may be at most {units}")
        if call.name == "channelshuffle" and units % _whole(options["groups"]):
            raise error("E0232", f"{options['groups']} groups do not divide {units} channels", stage.span)
        if options.get("bidirectional") == Word("concat") and units % 2:
            message = f"{units} units cannot be split between two directions"
            raise error("E0232", message, stage.span, help="the units count both directions: use an even number")
        both = options.get("bidirectional") == Word("concat")
        recur = options.get("recur")
        if isinstance(recur, Call):
            _check_recurrence(stage, recur, station.real_units // 2 if both else station.real_units)


def _check_recurrence(stage: ast.Stage, recur: Call, units: int) -> None:
    options = options_of(recur)
    if recur.name == "grouped" and units % _whole(options["groups"]):
        divisors = [g for g in range(2, min(units, 64) + 1) if units % g == 0]
        help = f"divisors of {units}: {', '.join(map(str, divisors))}" if divisors else ""
        raise error("E0232", f"{options['groups']} groups do not divide {units} units", stage.span, help=help)
    if recur.name in ("band", "ring") and not isinstance(options["width"], Quantity):
        width = _whole(options["width"])
        if width % 2 == 0:
            message = f"a {recur.name} is {width} wide, an even number"
            raise error(
                "E0232", message, stage.span, help=f"the unit itself and both sides: {width - 1} or {width + 1}"
            )
        if width > (2 * units - 1 if recur.name == "band" else units):
            message = f"a {recur.name} of {width} is wider than the {units} units of the station"
            raise error("E0232", message, stage.span, help="use `recur = full`")
    if recur.name == "mask" and units % _whole(options["block"]):
        raise error("E0232", f"blocks of {options['block']} do not divide {units} units", stage.span)


def _whole(value: Value) -> int:
    return value if isinstance(value, int) else 0
