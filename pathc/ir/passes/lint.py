"""Name what is legal but meant by nobody: nets that fall apart, edges drawn twice, sizes just off a power of two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from pathc.ir.facts import Blocks, Mixing, Valence
from pathc.ir.generators import Generator, resolve
from pathc.ir.gf2 import aligned_windows
from pathc.ir.graph import Graph, Line
from pathc.ir.passes.coverage import Coverage
from pathc.ir.passes.mixing import Mixing as MixingPass
from pathc.ir.passes.sign_quality import imbalance, sign_rank
from pathc.ir.passes.structure import Structure
from pathc.ir.passes.suggest import other_dimension, reaching_count
from pathc.ir.types import Word
from pathc.support.diagnostics import Diagnostic, Severity

LIMIT = 1 << 20
"""Lines with more paths are judged only where algebra does it."""

_JUST_OFF = 1 / 8


def lint(graph: Graph, limit: int = LIMIT) -> list[Diagnostic]:
    """Warnings about a valid graph, W0301 to W0309, and the note W0310 where a line is too large to judge.

    Facts are found anew; lines that are not linear are enumerated up to `limit` paths.
    """
    for step in (Structure(), Coverage(limit), MixingPass(limit)):
        graph = step(graph)
    found = list(_unused(graph))
    found += _off_powers_of_two(graph)
    visits = Counter(visit.station for line in graph.lines for visit in line.visits)
    for line in graph.lines:
        if line.kind == "paths":
            subject = _Subject(graph, line, limit, visits)
            found += (diagnostic for rule in _RULES for diagnostic in rule(subject))
    return found


@dataclass(frozen=True)
class _Subject:
    graph: Graph
    line: Line
    limit: int
    visits: Mapping[str, int]

    @cached_property
    def generator(self) -> Generator:
        return resolve(self.line, self.graph)

    @property
    def small(self) -> bool:
        return self.generator.count <= self.limit

    def blocks(self, junction: int) -> list[Blocks]:
        return self.graph.facts_about(Blocks, self.line.name, junction)

    def warn(
        self, code: str, message: str, visit: int | None, notes: tuple[str, ...] = (), help: str = ""
    ) -> Diagnostic:
        loc = (self.line.visits[visit].loc if visit is not None else None) or self.line.loc
        return Diagnostic(code, message, loc, notes=notes, help=help, severity=Severity.WARNING)


def _falls_apart(s: _Subject) -> Iterator[Diagnostic]:
    fact = next(iter(s.graph.facts_about(Mixing, s.line.name)), None)
    visit = _stalls(s, fact) if fact is not None else None
    if fact is None or visit is None:
        return
    names = [v.station for v in s.line.visits]
    notes = (f"a unit of `{names[visit]}` sees at most {fact.most[visit - 1]} of the {s.generator.sizes[0]} units of "
             f"`{names[0]}`, one of `{names[visit - 1]}` {fact.most[visit - 2]}",)  # fmt: skip
    if fact.pieces > 1:
        notes += (f"the paths of `{s.line.name}` form {fact.pieces} pieces that exchange nothing",)
    back = f"dimension {s.line.visits[visit].drawn} of `{names[visit - 2]}` comes back"
    cause = back if _comes_back(s.line, visit) else "nothing new mixes"
    cure = "give every station of the line a dimension of its own"
    before, here = s.line.visits[visit - 1 : visit + 1]
    if (before.axes or here.axes) and set(before.dims) & set(here.dims):
        places = f"give `{names[visit]}` fewer places than `{names[visit - 1]}`"
        cure = f"stations that share dimensions stay near each other: {places}, or dimensions of its own"
    yield s.warn("W0301", f"the paths of {s.line.name}.{visit} carry no farther: {cause}", visit, notes, cure)


def _stalls(s: _Subject, fact: Mixing) -> int | None:
    """The first visit that sees no more than the one before; for enumerated lines one whose dimension comes back."""
    sizes = s.generator.sizes
    for visit in range(2, len(sizes)):
        if s.generator.count < 2 * sizes[visit]:
            continue
        if fact.most[visit - 1] <= fact.most[visit - 2] < sizes[0]:
            return visit
        if fact.pieces > 1 and _comes_back(s.line, visit) and s.generator.affine(visit) is None:
            return visit
    return None


def _comes_back(line: Line, visit: int) -> bool:
    return line.visits[visit].drawn == line.visits[visit - 2].drawn


def _repeated_edges(s: _Subject) -> Iterator[Diagnostic]:
    for junction in s.line.junctions:
        sizes = s.generator.sizes[junction - 1 : junction + 1]
        repeat = min((b.repeat for b in s.blocks(junction)), default=1)
        if repeat == 1 or s.generator.count > sizes[0] * sizes[1]:
            continue
        before, here = s.line.visits[junction - 1 : junction + 1]
        better = other_dimension(s.line, s.graph, junction)
        if better is not None:
            cure = f"`{here.station}@{better}` draws every edge once"
        elif set(before.dims) & set(here.dims):
            cure = "stations that share dimensions have no other edges: give this junction a line of fewer paths"
        else:
            cure = "choose another dimension"
        yield s.warn(
            "W0302",
            f"dimensions {before.drawn} and {here.drawn} draw every edge of {s.line.name}.{junction} {repeat} times",
            junction,
            (f"{s.generator.count} paths make {s.generator.count // repeat} edges",),
            cure,
        )


def _ragged_count(s: _Subject) -> Iterator[Diagnostic]:
    widths = [n for v, n in enumerate(s.generator.sizes) if s.generator.affine(v) is not None and n & (n - 1) == 0]
    block, count = max(widths, default=1), s.generator.count
    if count % block == 0:
        return
    station = s.line.visits[s.generator.sizes.index(block)].station
    nearest = " or ".join(str(c) for c in (count // block * block, -(-count // block) * block) if c)
    windows = len(aligned_windows(count))
    notes = (f"units of `{station}` get {count // block} or {count // block + 1} paths",) + (
        (f"the paths split into {windows} windows, each with blocks of its own",) if windows > 1 else ()
    )
    yield s.warn(
        "W0303", f"{count} paths are no multiple of the {block} units of `{station}`", None, notes,
        f"count = {nearest}",
    )  # fmt: skip


def _broken_by_skip(s: _Subject) -> Iterator[Diagnostic]:
    generator = s.line.generator
    skip = generator.get("skip", 0)
    block = 1 << (s.generator.count - 1).bit_length()
    linear = generator.name == "sobol" and generator.get("scramble", Word("none")) != Word("owen")
    powers = any(n > 1 and n & (n - 1) == 0 for n in s.generator.sizes)
    if s.line.mirror or not linear or not powers or not isinstance(skip, int) or skip % block == 0:
        return
    nearest = " or ".join(str(k) for k in sorted({skip // block * block, (skip // block + 1) * block}))
    yield s.warn(
        "W0304", f"leaving out {skip} points breaks the dense blocks of `{s.line.name}`", None,
        (f"{s.generator.count} paths keep their blocks where the skip is a multiple of {block}",), f"skip = {nearest}",
    )  # fmt: skip


def _off_powers_of_two(graph: Graph) -> Iterator[Diagnostic]:
    walked = {v.station: line for line in graph.lines if _would_have_blocks(line) for v in line.visits if not v.axes}
    for station in graph.stations:
        line, n = walked.get(station.name), station.units
        power = _nearest_power_of_two(n)
        if line is None or n == power or abs(power - n) > _JUST_OFF * n:
            continue
        count = resolve(line, graph).count
        notes = (f"with {power} units every unit has the same number of paths, and junctions between powers of two "
                 f"become dense blocks without index arrays",)  # fmt: skip
        if count >= power:
            notes += (f"{count} paths would give each of the {power} units {count / power:.4g} of them",)
        cure = f"`{station.name}[{power}]`" + (", or `pad = pow2`" if power > n else "")
        yield Diagnostic(
            "W0305", f"`{station.name}` has {n} units, just off the power of two {power}", station.loc,
            notes=notes, help=cure, severity=Severity.WARNING,
        )  # fmt: skip


def _nearest_power_of_two(n: int) -> int:
    below = 1 << (n.bit_length() - 1)
    return below if n - below <= 2 * below - n else 2 * below


def _would_have_blocks(line: Line) -> bool:
    scramble = line.generator.get("scramble", Word("none"))
    return line.kind == "paths" and line.generator.name == "sobol" and scramble != Word("owen")


def _unused(graph: Graph) -> Iterator[Diagnostic]:
    entered = {v.station for line in graph.lines for v in line.visits[1:]}
    left = {v.station for line in graph.lines for v in line.visits[:-1]}
    for station in graph.stations:
        if station.name not in entered and station.name not in left:
            what = "stands on no line"
        elif station.role != "input" and station.name not in entered:
            what = "is never reached: no line leads to it"
        elif station.role != "output" and station.name not in left:
            what = "is never read: no line leads on from it"
        else:
            continue
        yield Diagnostic(
            "W0306", f"station `{station.name}` {what}", station.loc, help="draw a line through it, or leave it out",
            severity=Severity.WARNING,
        )  # fmt: skip


def _unbalanced_signs(s: _Subject) -> Iterator[Diagnostic]:
    if not s.small or s.line.tied or s.line.sign.name in ("positive", "hadamard"):
        return
    for junction in s.line.junctions:
        worst = imbalance(s.line, junction, s.generator)
        for visit, share in zip((junction - 1, junction), worst, strict=True):
            if share > 0.5:
                station = s.line.visits[visit].station
                yield s.warn(
                    "W0307", f"signs by `{s.line.sign}` are unbalanced at `{station}`", visit,
                    (f"on average {share:.0%} of a unit's weights in {s.line.name}.{junction} are not cancelled",),
                    "sign = hadamard, or halves",
                )  # fmt: skip
                return


def _tied_by_signs(s: _Subject) -> Iterator[Diagnostic]:
    if not s.small or s.line.tied or s.line.sign.name in ("random", "hadamard"):
        return
    for junction in s.line.junctions:
        for blocks in s.blocks(junction)[:1]:
            rank, best = sign_rank(s.line, blocks, s.generator), min(blocks.fan_in, blocks.fan_out)
            if rank < best:
                yield s.warn(
                    "W0308", f"signs by `{s.line.sign}` leave the blocks of {s.line.name}.{junction} with rank {rank}",
                    junction,
                    (f"units of a block hear the same {blocks.fan_in} sources; with rank below {best} they start "
                     f"equal or opposite and stay tied",),
                    "sign = hadamard gives full rank",
                )  # fmt: skip
                return


def _uncovered(s: _Subject) -> Iterator[Diagnostic]:
    for fact in s.graph.facts_about(Valence, s.line.name):
        station = s.graph.station(s.line.visits[fact.visit].station)
        if fact.least or s.visits[station.name] > 1:
            continue
        yield s.warn(
            "W0309", f"{station.units - fact.touched} of {station.units} units of `{station.name}` are on no path",
            fact.visit, (), _reached(s, fact.visit),
        )  # fmt: skip


def _reached(s: _Subject, visit: int) -> str:
    """How to reach every unit of a visit."""
    dims = s.line.visits[visit].dims
    if len(set(dims)) < len(dims):
        return "give every axis a dimension of its own"
    count = reaching_count(s.line, s.graph, visit, s.limit)
    return "choose other dimensions" if count is None else f"count = {count} Sobol' paths reach every unit"


def _not_judged(s: _Subject) -> Iterator[Diagnostic]:
    linear = all(s.generator.affine(v) is not None for v in range(len(s.line.visits)))
    if s.small or linear:
        return
    yield Diagnostic(
        "W0310", f"`{s.line.name}` is too large to be judged by enumeration: {s.generator.count} paths", s.line.loc,
        notes=(f"mixing, coverage and repeated edges are checked up to {s.limit} paths where paths are not linear",),
        severity=Severity.NOTE,
    )  # fmt: skip


_RULES: tuple[Callable[[_Subject], Iterator[Diagnostic]], ...] = (
    _falls_apart, _repeated_edges, _ragged_count, _broken_by_skip, _unbalanced_signs, _tied_by_signs, _uncovered,
    _not_judged,
)  # fmt: skip
