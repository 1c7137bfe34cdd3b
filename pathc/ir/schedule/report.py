"""The orders of a graph side by side, for people (`schedule_report`) and for programs (`schedule_json`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pathc.ir.facts import Order
from pathc.ir.generators import Generator, make, resolve
from pathc.ir.generators.interleaver import dispersion, spread
from pathc.ir.generators.regular import inverse
from pathc.ir.gf2 import IndexArray
from pathc.ir.graph import Graph
from pathc.ir.passes import load
from pathc.ir.schedule.advice import advice
from pathc.ir.schedule.banks import Banks
from pathc.ir.schedule.blocks import BlockSchedule
from pathc.ir.schedule.build import KINDS, ORDERS, build, ends, verdict_of
from pathc.ir.schedule.check import Verdict
from pathc.ir.schedule.table import Schedule
from pathc.ir.types import Call, Word
from pathc.support.diagnostics import PathcError

MAX_COMPARED = 1 << 16
"""Most paths of a junction that is scheduled by every kind there is, and whose spread is looked for."""
MAX_DISPERSED = 1 << 10
"""Most paths of a junction whose dispersion is counted, which takes time quadratic in them."""

_HEAD = ("", "kind", "cycles", "stalls", "ideal", "used", "clashes read", "written", "rmw", "spread", "dispersion")


@dataclass(frozen=True)
class Entry:
    """One kind of order for one junction: its verdict and interleaver quality, or the reason why there is none.

    `spread` and `dispersion` are None where they take too long.
    """

    kind: str
    chosen: bool
    verdict: Verdict | None = None
    spread: int | None = None
    dispersion: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """All kinds of orders for the junction of an `Order` fact."""

    order: Order
    source: tuple[str, Banks]
    destination: tuple[str, Banks]
    paths: int
    entries: tuple[Entry, ...]
    addresses: str


def compare(graph: Graph) -> list[Comparison]:
    """Every junction under every kind of order, those of the `Order` facts marked; blocks of 16 if there are none."""
    graph = scheduled(graph)
    return [_comparison(order, graph) for order in graph.facts_of(Order)]


def scheduled(graph: Graph) -> Graph:
    """The graph with orders: its own, or else blocks of 16."""
    return graph if any(graph.facts_of(Order)) else load("interleave")()(graph)


def weight_permutation(schedule: Schedule) -> IndexArray:
    """The interleaver that a schedule amounts to: left weight number of every path in the order of processing.

    The left weights of unit u follow those of u - 1, in the order in which they are processed; int64 of shape [paths
    issued].
    """
    return inverse(np.argsort(schedule.sources[schedule.issued()], kind="stable"))


def schedule_report(graph: Graph) -> str:
    """The schedules of a graph as plain text: cycles, stalls, clashes, spread and dispersion of every kind of order."""
    graph = scheduled(graph)
    lines: list[str] = []
    for found in compare(graph):
        lines += [*_text(found), ""]
    for warning in advice(graph):
        lines.append(f"{warning.message}; {'; '.join(warning.notes)}")
        lines.append(f"  {warning.help}")
    return "\n".join(lines).rstrip("\n") + "\n"


def schedule_json(graph: Graph) -> dict[str, Any]:
    """The same as plain dictionaries, lists, numbers and strings, keyed by line and junction."""
    graph = scheduled(graph)
    junctions = {f"{found.order.line}.{found.order.junction}": _json(found) for found in compare(graph)}
    return {
        "graph": graph.name,
        "junctions": junctions,
        "advice": [{"message": w.message, "help": w.help} for w in advice(graph)],
    }


def _comparison(order: Order, graph: Graph) -> Comparison:
    line = graph.line(order.line)
    generator = resolve(line, graph)
    own = ends(graph, line, order.junction, order.kind, order.z)
    names = [v.station for v in line.visits[order.junction - 1 : order.junction + 1]]
    kinds = KINDS if generator.count <= MAX_COMPARED else (order.kind,)
    entries: list[Entry] = []
    for kind in kinds:
        chosen = kind == order.kind
        try:
            drawn = generator if chosen or kind in ORDERS else _drawn(kind, order, graph)
            writes = order.writes if chosen else kind in ORDERS
            banks = own if chosen or kind in ORDERS else _low(own, order.z)
            schedule = build(kind, drawn, order.junction, order.z, *banks, writes=writes)
            entries.append(_entry(kind, chosen, schedule, writes))
        except PathcError as problem:
            entries.append(Entry(kind, chosen, reason=problem.diagnostics[0].message))
    return Comparison(
        order, (names[0], own[0]), (names[1], own[1]), generator.count, tuple(entries),
        _addresses(order, generator, own),
    )  # fmt: skip


def _drawn(kind: str, order: Order, graph: Graph) -> Generator:
    """The paths of the line drawn by an interleaver, seed 0."""
    line = graph.line(order.line)
    sizes = tuple(graph.station(v.station).units for v in line.visits)
    count = line.count or resolve(line, graph).count
    return make(Call("interleaver", (("kind", Word(kind)), ("z", order.z))), tuple(v.dim for v in line.visits), sizes,
                count)  # fmt: skip


def _low(own: tuple[Banks, Banks], z: int) -> tuple[Banks, Banks]:
    """The banks that interleavers are made for."""
    first, second = (replace(banks, banks=z, map="low", masks=()) for banks in own)
    return first, second


def _entry(kind: str, chosen: bool, schedule: Schedule | BlockSchedule, writes: bool) -> Entry:
    verdict = verdict_of(schedule, writes=writes)
    if verdict.paths > MAX_COMPARED or verdict.paths < 2:
        return Entry(kind, chosen, verdict)
    pi = weight_permutation(schedule.write_out() if isinstance(schedule, BlockSchedule) else schedule)
    irregular = dispersion(pi) if len(pi) <= MAX_DISPERSED else None
    return Entry(kind, chosen, verdict, spread(pi), irregular)


def _addresses(order: Order, generator: Generator, own: tuple[Banks, Banks]) -> str:
    """How rows and banks are addressed under the chosen order."""
    if order.proof != "algebra":
        return "addresses from a table"
    schedule = build(order.kind, generator, order.junction, order.z, *own, writes=order.writes)
    if not isinstance(schedule, BlockSchedule):
        return "addresses from a table"
    one = [end.common_row for end in (schedule.source, schedule.destination)]
    rows = {
        (True, True): "one row a cycle at both ends",
        (True, False): "one row a cycle to read, a constant of the lane added to write",
        (False, True): "one row a cycle to write, a constant of the lane added to read",
        (False, False): "rows with a constant of the lane added",
    }[one[0], one[1]]
    return f"{rows}; lanes to banks: one permutation, XOR a constant of the cycle"


def _text(found: Comparison) -> list[str]:
    order = found.order
    sides = [f"{name} {b.units} in {b.banks} banks ({b.map})" for name, b in (found.source, found.destination)]
    rows = [_HEAD, *(_row(entry) for entry in found.entries if entry.verdict)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [f"{order.line}.{order.junction}  {' -> '.join(sides)}, {found.paths:,} paths in {order.z} lanes"]
    lines.append(f"    {found.addresses}")
    for row in rows:
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append(f"  {'  '.join(cells)}".rstrip())
    reasons: dict[str, list[str]] = {}
    for entry in found.entries:
        if entry.reason:
            reasons.setdefault(entry.reason, []).append(entry.kind)
    lines += [f"    no {', '.join(kinds)}: {reason}" for reason, kinds in reasons.items()]
    return lines


def _row(entry: Entry) -> tuple[str, ...]:
    v = entry.verdict
    if v is None:
        return ()
    written = f"{v.destination_clashes:,}" if v.writes else f"({v.destination_clashes:,})"
    return (
        "*" if entry.chosen else "", entry.kind, f"{v.cycles:,}", f"{v.stalls:,}", f"{v.ideal:,}",
        f"{v.utilisation:.1%}", f"{v.source_clashes:,}", written, str(v.rmw_distance or "-"),
        "-" if entry.spread is None else str(entry.spread),
        "-" if entry.dispersion is None else f"{entry.dispersion:.4f}",
    )  # fmt: skip


def _json(found: Comparison) -> dict[str, Any]:
    return {
        "kind": found.order.kind,
        "z": found.order.z,
        "paths": found.paths,
        "proof": found.order.proof,
        "addresses": found.addresses,
        "source": {"station": found.source[0], **asdict(found.source[1])},
        "destination": {"station": found.destination[0], **asdict(found.destination[1])},
        "kinds": {entry.kind: _entry_json(entry) for entry in found.entries},
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    if entry.verdict is None:
        return {"chosen": entry.chosen, "reason": entry.reason}
    return {
        "chosen": entry.chosen,
        **asdict(entry.verdict),
        "time": entry.verdict.time,
        "utilisation": entry.verdict.utilisation,
        "clash_free": entry.verdict.clash_free,
        "spread": entry.spread,
        "dispersion": entry.dispersion,
    }
