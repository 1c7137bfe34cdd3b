"""Choose the order in which z lanes process the paths of every junction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from pathc.ir.catalogue import canonical
from pathc.ir.facts import Bank, Fact, Order
from pathc.ir.generators import resolve
from pathc.ir.generators.interleaver import Interleaver
from pathc.ir.graph import Graph, Line
from pathc.ir.schedule.build import ORDERS, check_order, default_map, interleaver
from pathc.ir.schedule.orders import LIMIT, broken_limits, ordered
from pathc.ir.types import Call, Value, Word
from pathc.support.diagnostics import PathcError, did_you_mean, error


@dataclass(frozen=True)
class Interleave:
    """Choose the order in which z lanes process the paths of every junction, and count clashes of banks.

    Kinds for any paths: blocks (z paths in the order of their index), stall (blocks wait for their banks), colour (as
    few cycles as possible). Interleavers: basic, sv, ss, md and their sums such as sv+ss, type1, type2, type3; they
    are ways to draw paths, so they suit lines drawn by that interleaver, and draw others anew, from `seed` and
    with `dither`, only if redraw = true: weights trained before then mean nothing. `writes` holds destinations to
    banks of their own as well (not for interleavers, which add up lanes before they write). Stations without a
    `bank` fact get z banks. Only `line` is ordered if one is named. Blocks of up to
    `limit` paths are counted one by one; those linear over GF(2) are proved clash-free at any size, or their
    clashes counted.
    """

    name: ClassVar[str] = "interleave"
    kind: str = "blocks"
    z: int = 16
    seed: int = 0
    dither: bool = False
    redraw: bool = False
    writes: bool = True
    line: str = ""
    limit: int = LIMIT

    def __call__(self, graph: Graph) -> Graph:
        """The graph with its `Order` facts renewed.

        Errors: E0350, E0351, E0353 to E0356, E0358; E0341, E0343, E0346 if an interleaver cannot be drawn.
        """
        check_order(self.kind, self.z)
        lines = [line for line in graph.lines if line.kind == "paths" and self.line in ("", line.name)]
        if self.line and not lines:
            hint = did_you_mean(self.line, [line.name for line in graph.lines]) or "dense lines and skips have no order"
            raise error("E0358", f"there are no paths `{self.line}`", graph.loc, help=hint)
        names = {line.name for line in lines}
        if self.kind not in ORDERS:
            graph = self._redrawn(graph, names)
        kept = tuple(f for f in graph.facts if not (isinstance(f, Order) and f.line in names))
        graph = replace(graph, facts=(*kept, *self._banks(graph, names)))
        added = tuple(order for line in graph.lines if line.name in names for order in self._orders(line, graph))
        graph = replace(graph, facts=(*graph.facts, *added))
        if found := list(broken_limits(graph)):
            raise PathcError(*found)
        return graph

    def _orders(self, line: Line, graph: Graph) -> list[Order]:
        generator = resolve(line, graph)
        kind = interleaver(self.kind) or self.kind
        blank = [
            Order(line.name, j, kind, self.z, 0, 0, "none", self.writes and kind in ORDERS, loc=line.loc)
            for j in line.junctions
        ]
        return [ordered(order, graph, self.limit, generator) for order in blank]

    def _banks(self, graph: Graph, names: set[str]) -> list[Fact]:
        """Facts for the stations that the lines visit and that have none."""
        done = {f.station for f in graph.facts_of(Bank)}
        visited = {v.station for line in graph.lines if line.name in names for v in line.visits}
        return [
            Bank(s.name, self.z, default_map(self.kind), loc=s.loc) for s in graph.stations if s.name in visited - done
        ]

    def _redrawn(self, graph: Graph, names: set[str]) -> Graph:
        """The graph with these lines drawn by the interleaver; what was found out about other paths is dropped."""
        lines = tuple(self._drawn(line, graph) if line.name in names else line for line in graph.lines)
        changed = {new.name for new, old in zip(lines, graph.lines, strict=True) if new != old}
        changed |= {line.name for line in lines if line.mirror in changed}
        facts = tuple(f for f in graph.facts if getattr(f, "line", None) not in changed)
        return replace(graph, lines=lines, facts=facts)

    def _drawn(self, line: Line, graph: Graph) -> Line:
        """The line drawn by the interleaver; E0353 if it is drawn another way and may not be drawn anew."""
        kind = interleaver(self.kind)
        wanted = f"interleaver({kind}, z = {self.z})"
        if line.mirror:
            message = f"`{line.name}` walks `{line.mirror}` backwards, where an interleaver is not free of clashes"
            raise error("E0353", message, line.loc, help="kind = colour, or name another line: line = ...")
        if not self.redraw:
            generator = resolve(line, graph)
            if isinstance(generator, Interleaver) and (generator.kind, generator.z) == (kind, self.z):
                return line
            message = f"the paths of `{line.name}` are drawn by {line.generator}, not by {wanted}"
            cure = "redraw = true draws other paths; stall and colour keep the paths"
            raise error("E0353", message, line.loc, help=cure)
        options: tuple[tuple[str, Value], ...] = (
            ("kind", Word(kind)), ("z", self.z), ("seed", self.seed), ("dither", self.dither),
        )  # fmt: skip
        return replace(line, generator=canonical(Call("interleaver", options)))
