"""Bring graphs that mean the same to the same form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from pathc.ir.catalogue import canonical, find, options_of
from pathc.ir.graph import Graph, Line, Station
from pathc.ir.types import Call, Word


@dataclass(frozen=True)
class Canonical:
    """Write options in the catalogue's order, leave out those equal to their default and what has no effect.

    Identity stages go; so do the seed of an unscrambled sequence and the number of declared units where no silent
    ones were added. Running it twice changes nothing more.
    """

    name: ClassVar[str] = "canonical"

    def __call__(self, graph: Graph) -> Graph:
        """The graph in canonical form; facts are kept."""
        return replace(
            graph,
            stations=tuple(_station(station) for station in graph.stations),
            lines=tuple(_line(line) for line in graph.lines),
        )


def _station(station: Station) -> Station:
    pipeline = tuple(_call(stage) for stage in station.pipeline if stage.name != "identity")
    return replace(station, pipeline=pipeline, declared=0 if station.declared == station.units else station.declared)


def _line(line: Line) -> Line:
    generator = _call(line.generator)
    if generator.name == "sobol" and options_of(generator)["scramble"] == Word("none"):
        generator = replace(generator, options=tuple((k, v) for k, v in generator.options if k != "seed"))
    return replace(line, generator=generator, sign=_call(line.sign), options=tuple(sorted(line.options, key=_key)))


def _call(call: Call) -> Call:
    return canonical(call) if find(call.name) else call


def _key(option: tuple[str, object]) -> str:
    return option[0]
