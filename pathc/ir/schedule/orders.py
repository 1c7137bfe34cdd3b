"""`Order` facts: what they promise, found by algebra or by counting, and what limits them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pathc.ir.facts import Order
from pathc.ir.generators import Generator, resolve
from pathc.ir.graph import Graph, Line
from pathc.ir.schedule.blocks import BlockSchedule
from pathc.ir.schedule.build import ORDERS, build, check_order, ends, symbolic, verdict_of
from pathc.support.diagnostics import Diagnostic

LIMIT = 1 << 22
"""Most paths of a junction whose clashes a pass counts one by one."""


def ordered(order: Order, graph: Graph, limit: int = LIMIT, generator: Generator | None = None) -> Order:
    """The fact with cycles, stalls and proof as the paths and banks of the graph make them.

    Beyond `limit` paths what is not linear is not counted: stalls -1, proof none. Errors: those of `build`.
    """
    check_order(order.kind, order.z, order.loc)
    line = graph.line(order.line)
    paths = resolve(line, graph) if generator is None else generator
    source, destination = ends(graph, line, order.junction, order.kind, order.z)
    large = order.kind == "blocks" and paths.count > limit
    if large and symbolic(paths, order.junction, order.z, source, destination) is None:
        return replace(order, cycles=-(-paths.count // order.z), stalls=-1, proof="none")
    schedule = build(order.kind, paths, order.junction, order.z, source, destination, writes=order.writes)
    verdict = verdict_of(schedule, writes=order.writes)
    proof = "algebra" if isinstance(schedule, BlockSchedule) else "count"
    return replace(order, cycles=verdict.cycles, stalls=verdict.stalls, proof=proof)


def fans(line: Line, junction: int, graph: Graph, count: int) -> tuple[int, int]:
    """(fan-out of the left units, fan-in of the right units) of a junction, rounded up."""
    left, right = (graph.station(v.station).units for v in line.visits[junction - 1 : junction + 1])
    return -(-count // left), -(-count // right)


def broken_limits(graph: Graph) -> Iterator[Diagnostic]:
    """What keeps junctions ordered by interleavers from running on z memories one behind the other.

    E0354: the z weights of a cycle belong to whole right units, or a right unit takes whole cycles: z is a multiple
    of the fan-in, or the fan-in of z. E0355: the right units finished in a cycle have to find different memories
    of the next junction: z' >= ceil(z / fan-in).
    """
    orders = [order for order in graph.facts_of(Order) if order.kind not in ORDERS]
    for order in orders:
        line = graph.line(order.line)
        _, fan_in = fans(line, order.junction, graph, _count(line, graph))
        if order.z % fan_in and fan_in % order.z:
            below = max(z for z in range(1, order.z + 1) if z % fan_in == 0 or fan_in % z == 0)
            yield Diagnostic(
                "E0354",
                f"{order.z} weights a cycle do not fit the fan-in {fan_in} of {order.line}.{order.junction}",
                order.loc,
                notes=("a cycle holds whole right units, or a right unit takes whole cycles",),
                help=f"z = {below} or {-(-order.z // fan_in) * fan_in}",
            )
        station = line.visits[order.junction].station
        needed = -(-order.z // fan_in)
        for after in orders:
            reads = graph.line(after.line).visits[after.junction - 1].station
            if reads == station and after.z < needed:
                yield Diagnostic(
                    "E0355",
                    f"{order.line}.{order.junction} finishes {needed} units of `{station}` a cycle, "
                    f"{after.line}.{after.junction} has {after.z} memories for them",
                    after.loc,
                    help=f"z = {needed} or more for {after.line}.{after.junction}",
                )


def _count(line: Line, graph: Graph) -> int:
    return line.count or graph.line(line.mirror).count
