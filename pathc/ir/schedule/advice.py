"""What stands in the way of schedules without stalls, and which sizes would clear it."""

from __future__ import annotations

from dataclasses import replace

from pathc.ir.facts import Bank, Order
from pathc.ir.generators import make
from pathc.ir.graph import Graph
from pathc.ir.schedule.build import layout, symbolic
from pathc.support.diagnostics import Diagnostic, Severity


def advice(graph: Graph) -> list[Diagnostic]:
    """A warning W0350 for every `Order` that stalls or was not counted, with the cure if one is known."""
    return [_clash(order, graph) for order in graph.facts_of(Order) if order.stalls]


def _clash(order: Order, graph: Graph) -> Diagnostic:
    where = f"{order.line}.{order.junction}"
    if order.stalls < 0:
        text = f"clashes of {where} were not counted"
        notes = ("its paths or banks are not linear over GF(2), and too many to be counted one by one",)
    else:
        share = order.stalls / (order.cycles + order.stalls)
        text = f"{where} stalls {order.stalls} cycles beside {order.cycles}: banks are asked twice in a cycle"
        notes = (f"{share:.1%} of the time is lost",)
    return Diagnostic(
        "W0350", text, order.loc, notes=notes, help=cure(order, graph) or "interleave{kind=colour}",
        severity=Severity.WARNING,
    )  # fmt: skip


def cure(order: Order, graph: Graph) -> str:
    """Banks or padding with which blocks of a Sobol' junction are clash-free, or nothing if there are none."""
    line = graph.line(order.line)
    if order.kind != "blocks" or line.mirror or line.generator.name != "sobol":
        return ""
    visits = line.visits[order.junction - 1 : order.junction + 1]
    if any(v.axes for v in visits):
        return ""
    lanes = 1 << (order.z - 1).bit_length()
    sizes = tuple(graph.station(v.station).units for v in visits)
    padded = tuple(1 << (n - 1).bit_length() for n in sizes)
    count = -(-line.count // lanes) * lanes
    dims = tuple(v.dim for v in visits)
    generator = make(line.generator, dims, padded, count, line.loc)
    high = [replace(layout(graph, v.station, "blocks", lanes), units=n, banks=lanes, map="high", masks=())
            for v, n in zip(visits, padded, strict=True)]  # fmt: skip
    found = symbolic(generator, 1, lanes, *high)
    if found is None or found.verdict(writes=order.writes).stalls:
        return ""
    changes = [f"`{v.station}[{new}]`" for v, old, new in zip(visits, sizes, padded, strict=True) if new != old]
    given = [f for f in graph.facts_of(Bank) if f.station in {v.station for v in visits}]
    if lanes != order.z:
        changes.append(f"z = {lanes}")
    if count != line.count:
        changes.append(f"count = {count}")
    if any((f.map, f.banks) not in (("high", lanes), ("bank-major", lanes)) for f in given):
        changes.append(f"bank{{banks={lanes},map=high}}")
    return f"with {' and '.join(changes)} no two lanes ask the same bank" if changes else ""
