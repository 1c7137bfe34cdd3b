"""What the analyses found in a graph, for people (`structure_report`) and for programs (`structure_json`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pathc.ir.blocks import find_blocks
from pathc.ir.cost import Cost, cost
from pathc.ir.facts import Bicliques, Blocks, Distinct, Mixing, Valence
from pathc.ir.generators import make
from pathc.ir.gf2 import aligned_windows
from pathc.ir.graph import Graph, Line, Visit
from pathc.ir.init import ends
from pathc.ir.passes import parse_pipeline
from pathc.ir.types import Word

PASSES = "structure,coalesce,bicliques,coverage,mixing"
"""The passes whose facts a report shows; those already in the graph are found anew."""

_NAME_WIDTH = 12


def analysed(graph: Graph) -> Graph:
    """The graph with all facts a report shows."""
    for step in parse_pipeline(PASSES):
        graph = step(graph)
    return graph


def structure_report(graph: Graph) -> str:
    """The structure of a graph as plain text for a talk: sizes, blocks, XOR constants, mixing, coverage, cost."""
    graph = analysed(graph)
    found = cost(graph)
    lines = [f"{graph.name}: {_chain_of(graph)}", ""]
    for line in graph.lines:
        if line.kind == "paths":
            lines += [*_Section(graph, line).text(), ""]
        else:
            names = " -> ".join(v.station for v in line.visits)
            lines += [f"{line.kind} {line.name}: {names}", ""]
    return "\n".join((*lines, *_cost_text(found))) + "\n"


def structure_json(graph: Graph) -> dict[str, Any]:
    """The same as plain dictionaries, lists, numbers and strings, keyed by line and junction."""
    graph = analysed(graph)
    sections = {line.name: _Section(graph, line).json() for line in graph.lines if line.kind == "paths"}
    return {"graph": graph.name, "lines": sections, "cost": cost(graph).as_json()}


def junction_report(graph: Graph, line: str, junction: int) -> list[str]:
    """What the report says of one junction of a line of paths, as lines, from the facts of an `analysed` graph."""
    return _Section(graph, graph.line(line)).junction_text(junction)


@dataclass(frozen=True)
class _Section:
    """What is known about one line of paths."""

    graph: Graph
    line: Line

    @property
    def mixing(self) -> Mixing | None:
        return next(iter(self.graph.facts_about(Mixing, self.line.name)), None)

    def blocks(self, junction: int) -> list[Blocks]:
        return self.graph.facts_about(Blocks, self.line.name, junction)

    def distinct(self, junction: int) -> int | None:
        return next((f.edges for f in self.graph.facts_about(Distinct, self.line.name, junction)), None)

    def bicliques(self, junction: int) -> Bicliques | None:
        return next(iter(self.graph.facts_about(Bicliques, self.line.name, junction)), None)

    def valence(self, visit: int) -> Valence | None:
        return next(iter(self.graph.facts_about(Valence, self.line.name, visit)), None)

    @property
    def count(self) -> int:
        return self.line.count or (self.graph.line(self.line.mirror).count if self.line.mirror else 0)

    def text(self) -> list[str]:
        visits = " -> ".join(f"{v.station}@{v.drawn}" for v in self.line.visits)
        drawn = f"mirror of {self.line.mirror}" if self.line.mirror else str(self.line.generator)
        lines = [f"paths {self.line.name}: {visits}   {self.count:,} paths, {drawn}"]
        for junction in self.line.junctions:
            lines += self.junction_text(junction)
        return [*lines, *self._mixing_text(), *self._coverage_text()]

    def junction_text(self, junction: int) -> list[str]:
        """Sizes, edges, fans and blocks of one junction."""
        source, destination = ends(self.line, junction, self.graph)
        sizes = f"{source.name} {source.units} -> {destination.name} {destination.units}"
        lines = [f"  {self.line.name}.{junction}  {sizes}"]
        dense = source.real_units * destination.real_units
        distinct = self.distinct(junction)
        if distinct is not None:
            share = f"{distinct:,} distinct edges of {dense:,} ({distinct / dense:.2%} of dense)"
            repeats = "" if distinct == self.count else f", {self.count - distinct:,} paths repeat an edge"
            lines.append(_row("edges", share + repeats))
        lines.append(_row("fan", f"in {self.count / destination.units:.4g}, out {self.count / source.units:.4g}"))
        blocks = self.blocks(junction)
        for fact in blocks:
            lines += _blocks_text(fact, source.units, destination.units, len(blocks) > 1)
        if not blocks:
            lines += self._without_blocks(junction, source.units, destination.units)
        return lines

    def _without_blocks(self, junction: int, source: int, destination: int) -> list[str]:
        lines = [_row("blocks", f"none: {self._reason(source, destination)}")]
        gain = self._gain(junction, source, destination)
        if gain:
            lines.append(_row("", gain))
        found = self.bicliques(junction)
        if found is not None and found.blocks:
            lines.append(_row("bicliques", f"{found.blocks} dense blocks hold {found.edges:,} edges, "
                                           f"{found.remainder:,} remain"))  # fmt: skip
        if found is None:
            lines.append(_row("bicliques", "not searched, too many paths to enumerate"))
        if self.count > source * destination:
            lines.append(_row("note", "more paths than pairs of units: a dense line would cost less"))
        return lines

    def _gain(self, junction: int, source: int, destination: int) -> str:
        """What rounding both sizes up to powers of two would give, or nothing if they are or it would not help."""
        sizes = (1 << (source - 1).bit_length(), 1 << (destination - 1).bit_length())
        visits = self.line.visits[junction - 1 : junction + 1]
        if self.line.mirror or self.line.generator.name != "sobol" or sizes == (source, destination):
            return ""
        if any(v.axes for v in visits):
            return ""
        dims = tuple(v.dim for v in visits)
        generator = make(self.line.generator, dims, sizes, self.count, self.line.loc)
        src, dst = generator.affine(0), generator.affine(1)
        if src is None or dst is None:
            return ""
        _, length = aligned_windows(self.count)[0]
        fact = find_blocks(src, dst, 0, length)
        shape = f"{fact.count:,} dense blocks of {fact.fan_out} x {fact.fan_in}"
        return f"{sizes[0]} -> {sizes[1]} units would have {shape} and need no index array"

    def _reason(self, source: int, destination: int) -> str:
        generator = (self.graph.line(self.line.mirror) if self.line.mirror else self.line).generator
        odd = [str(n) for n in dict.fromkeys((source, destination)) if n & (n - 1)]
        if generator.name == "sobol" and generator.get("scramble") == Word("owen"):
            return "nested scrambling is not linear over GF(2)"
        if generator.name != "sobol":
            return f"`{generator.name}` is not linear over GF(2) here"
        if odd:
            return f"{' and '.join(odd)} {'is' if len(odd) == 1 else 'are'} no power of two"
        return f"skip = {generator.get('skip', 0)} shifts the paths across block borders"

    def _mixing_text(self) -> list[str]:
        fact = self.mixing
        if fact is None:
            return [_row("mixing", "not searched, too many paths to enumerate")]
        fields = ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in zip(fact.least, fact.most, strict=True))
        first = self.graph.station(self.line.visits[0].station)
        pieces = "one piece" if fact.pieces == 1 else f"{fact.pieces:,} pieces"
        estimate = "" if fact.exact else " (estimate)"
        text = f"a unit sees {fields} of {first.units} units of {first.name}; {pieces}{estimate}"
        return [_row("mixing", text)]

    def _coverage_text(self) -> list[str]:
        shown: list[str] = []
        for v, visit in enumerate(self.line.visits):
            fact, units = self.valence(v), self.graph.station(visit.station).units
            if fact is None:
                shown.append(f"{visit.station} not counted")
            else:
                paths = str(fact.least) if fact.least == fact.most else f"{fact.least}..{fact.most}"
                left_out = "" if fact.touched == units else f" ({units - fact.touched} units on no path)"
                shown.append(f"{visit.station} {paths}{left_out}")
        return [_row("paths/unit", ", ".join(shown))]

    def json(self) -> dict[str, Any]:
        fact = self.mixing
        return {
            "paths": self.count,
            "visits": [_visit_json(v) for v in self.line.visits],
            "junctions": {str(j): self._junction_json(j) for j in self.line.junctions},
            "mixing": None if fact is None else {
                "least": list(fact.least), "most": list(fact.most), "pieces": fact.pieces, "exact": fact.exact,
            },
            "valence": [
                None if (f := self.valence(v)) is None else {"touched": f.touched, "least": f.least, "most": f.most}
                for v in range(len(self.line.visits))
            ],
        }  # fmt: skip

    def _junction_json(self, junction: int) -> dict[str, Any]:
        source, destination = ends(self.line, junction, self.graph)
        found = self.bicliques(junction)
        return {
            "source": source.name,
            "destination": destination.name,
            "units": [source.units, destination.units],
            "distinct_edges": self.distinct(junction),
            "dense_equivalent": source.real_units * destination.real_units,
            "windows": [_blocks_json(fact) for fact in self.blocks(junction)],
            "bicliques": None if found is None else {
                "blocks": found.blocks, "edges": found.edges, "remainder": found.remainder,
            },
        }  # fmt: skip


def _blocks_text(fact: Blocks, sources: int, destinations: int, several: bool) -> list[str]:
    window = f" in paths {fact.start:,} .. {fact.start + fact.length - 1:,}" if several else ""
    many = "block" if fact.count == 1 else "blocks"
    shape = f"{fact.count:,} dense {many} of {fact.fan_out} x {fact.fan_in}, rank {fact.rank}{window}"
    if fact.repeat > 1:
        shape += f", every edge {fact.repeat} times"
    return [
        _row("blocks", shape),
        _row("sources", _xor(fact.src_basis, fact.src_reps, fact.src_shift, sources)),
        _row("destinations", _xor(fact.dst_basis, fact.dst_reps, fact.dst_shift, destinations)),
    ]


def _xor(basis: tuple[int, ...], reps: tuple[int, ...], shift: int, units: int) -> str:
    digits = max(1, -(-(units - 1).bit_length() // 4))

    def show(vectors: tuple[int, ...]) -> str:
        return " ".join(f"{v:0{digits}x}" for v in vectors) or "-"

    start = f"{shift:0{digits}x} ^ " if shift else ""
    return f"{start}span({show(basis)})" + (f", block k adds span({show(reps)}; k)" if reps else "")


def _visit_json(visit: Visit) -> dict[str, Any]:
    axes = [[axis.dim, axis.parts] for axis in visit.axes]
    return {"station": visit.station, "dim": visit.dim, **({"axes": axes} if axes else {})}


def _blocks_json(fact: Blocks) -> dict[str, Any]:
    return {
        "start": fact.start,
        "length": fact.length,
        "blocks": fact.count,
        "fan_in": fact.fan_in,
        "fan_out": fact.fan_out,
        "rank": fact.rank,
        "repeat": fact.repeat,
        "source_basis": list(fact.src_basis),
        "destination_basis": list(fact.dst_basis),
        "source_representatives": list(fact.src_reps),
        "destination_representatives": list(fact.dst_reps),
        "source_shift": fact.src_shift,
        "destination_shift": fact.dst_shift,
    }


def _cost_text(found: Cost) -> list[str]:
    share = f" ({found.weights / found.weights_dense_equivalent:.2%})" if found.weights_dense_equivalent else ""
    rows = [
        _row("weights", f"{found.weights:,} of {found.weights_dense_equivalent:,} if dense{share}"),
        _row("biases", f"{found.biases:,}"),
        *((_row("norms", f"{found.norms:,} gains and shifts"),) if found.norms else ()),
        _row("macs", f"{found.macs:,} multiply-adds a sample"),
        _row("bytes", f"{found.bytes:,} as f32"),
    ]
    if found.recurrent_weights:
        rows.insert(1, _row("recurrent", f"{found.recurrent_weights:,} weights"))
    return ["cost", *rows]


def _row(name: str, text: str) -> str:
    return f"    {name:{_NAME_WIDTH}}  {text}"


def _chain_of(graph: Graph) -> str:
    return ", ".join(f"{s.name}[{'x'.join(map(str, s.shape))}]" for s in graph.stations)
