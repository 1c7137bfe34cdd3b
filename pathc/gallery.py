"""Pictures of models: what `pathc dump --emit svg`, `dot`, `matrices` and `fan` draw of a source text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pathc.driver import Options, compile_model, emit, load, transform
from pathc.ir.graph import Graph
from pathc.ir.pipeline import Stage
from pathc.support.diagnostics import Diagnostic, PathcError, UsageError
from pathc.support.source import Source

if TYPE_CHECKING:
    from pathc.viz.page import Side

_UNIT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\[([0-9]{1,10})\])?\Z")


def picture(kind: str, source: Source, options: Options, unit: str = "") -> str:
    """A picture of KINDS of the graph after the passes; `unit` is the one whose receptive field `fan` draws.

    Raises as `pathc.driver.load` and `transform`; PathcError E1201 to E1204 for what cannot be drawn, UsageError
    E1205 for a unit that cannot be read.
    """
    graph = transform(load(source, options.overrides), options)
    return KINDS[kind](graph, unit)


def page_of(sides: Sequence[tuple[Source, Options]], target: str = "llvm") -> str:
    """One HTML page of compilations side by side: maps, dumps and changes of every pass, structure, kernel plan.

    A target that refuses a model or has no plan leaves its reason in the place of the plan. Raises as `load` and
    `transform`.
    """
    from pathc.viz.page import page

    made = [_side(source, options, target) for source, options in sides]
    return page(" | ".join(dict.fromkeys(side.stages[0][1].name for side in made)), made)


def _side(source: Source, options: Options, target: str) -> Side:
    from pathc.ir.report import structure_report
    from pathc.viz.page import Side

    stages: list[tuple[str, Graph]] = []

    def keep(stage: Stage) -> None:
        stages.append((stage.name, stage.graph))

    graph = transform(load(source, options.overrides), replace(options, hooks=replace(options.hooks, on_stage=keep)))
    title = f"{source.name}   {options.pipeline}"
    plan = _plan(source, options, target)
    return Side(title, source.name, source.text, stages, structure_report(graph), plan)


def _plan(source: Source, options: Options, target: str) -> str:
    try:
        compiled = compile_model(source, target, None, replace(options, hooks=type(options.hooks)()))
        text = emit(compiled, "plan")
    except PathcError as refusal:
        return "\n".join(f"{d.code}: {d.message}" for d in refusal.diagnostics)
    return text if isinstance(text, str) else text.decode(errors="replace")


def unit_of(text: str) -> tuple[str, int]:
    """Station and number of a unit such as `digits[3]`; the first of a station that is named alone."""
    match = _UNIT.match(text)
    if match is None:
        raise UsageError(Diagnostic("E1205", f"`{text}` is no unit", help="--unit digits[3]"))
    return match[1], int(match[2] or 0)


def _svg(graph: Graph, unit: str) -> str:
    from pathc.viz.metro import metro

    return metro(graph)


def _dot(graph: Graph, unit: str) -> str:
    from pathc.viz.dot import dot

    return dot(graph)


def _matrices(graph: Graph, unit: str) -> str:
    from pathc.viz.matrix import matrices

    return matrices(graph)


def _fan(graph: Graph, unit: str) -> str:
    from pathc.viz.fan import fan

    return fan(graph, *(unit_of(unit) if unit else ("", 0)))


KINDS: dict[str, Callable[[Graph, str], str]] = {"svg": _svg, "dot": _dot, "matrices": _matrices, "fan": _fan}
"""Pictures of a graph, by the name that `--emit` takes."""
