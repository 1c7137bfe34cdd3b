"""Nets with every kernel form and operation, and their plans."""

from __future__ import annotations

from dataclasses import replace

from net_support import BIAS, graph_of

from pathc.backends.llvm.executable import ROWS
from pathc.backends.llvm.forms import Choices
from pathc.backends.llvm.lower import plan_net
from pathc.backends.llvm.machine import machine
from pathc.backends.llvm.plantext import print_plans
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.passes import parse_pipeline
from pathc.ir.types import Call
from pathc.support.source import Source

RELU = Call("relu")
SIZE = 256
WIDE = machine({"cpu": "avx512"})


def branched() -> Graph:
    """Blocks that need relayouts, a skip, a dense line, two inputs, two outputs, stages on their own."""
    stations = (
        Station("x", "input", (SIZE,), pipeline=(RELU,)),
        Station("z", "input", (20,)),
        Station("a", "layer", (SIZE,), pipeline=(BIAS, Call("leaky", (("slope", 0.25),)))),
        Station("c", "layer", (SIZE,), pipeline=(RELU,)),
        Station("b", "layer", (SIZE,), pipeline=(RELU, Call("abs"))),
        Station("y", "output", (SIZE,), pipeline=(BIAS, Call("softmax"))),
        Station("v", "output", (32,), pipeline=(Call("kwinners", (("k", 3),)),), declared=30),
    )
    lines = (
        Line("main", "paths", tuple(Visit(s, k) for k, s in enumerate("xacby")), 2 * SIZE),
        Line("side", "dense", (Visit("z", 0), Visit("b", 0))),
        Line("over", "skip", (Visit("x", 0), Visit("b", 0)), scale=0.5),
        Line("last", "paths", (Visit("a", 0), Visit("v", 1)), 256),
    )
    return structured(Graph("branched", stations, lines))


def structured(graph: Graph) -> Graph:
    for step in parse_pipeline("canonical,structure"):
        graph = step(graph)
    return graph


def plans_of(graph: Graph, chosen=WIDE, forms=None, columns=None, orders=("rows", "rows")):
    """The row plan and the column plan of a graph; the latter for arrays that lie so."""
    choices = Choices(forms=forms or {})
    column = plan_net(graph, chosen, "column", columns or 2 * chosen.width, choices, orders)
    return plan_net(graph, chosen, "row", ROWS, choices), column


def source_of(*plans) -> Source:
    return Source("net.plan", print_plans(plans, WIDE))


NETS = {
    "blocks": graph_of((256, 256, 64, 16), 2048, BIAS, RELU),
    "fused": graph_of((256, 256, 256), 1024, RELU),
    "general": graph_of((50, 30, 10), 400, RELU),
    "branched": branched(),
}


def changed(plan, at, **fields):
    """The plan with fields of one operation replaced; those of a step by their own names."""
    op = plan.ops[at]
    own = {name: value for name, value in fields.items() if hasattr(op, name)}
    rest = {name: value for name, value in fields.items() if name not in own}
    op = replace(op, **own)
    if rest:
        op = replace(op, step=replace(op.step, **rest))
    return replace(plan, ops=(*plan.ops[:at], op, *plan.ops[at + 1 :]))
