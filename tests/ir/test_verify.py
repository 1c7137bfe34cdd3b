from __future__ import annotations

import time
from dataclasses import replace

import pytest
from ir_nets import ACTIVATIONS, BIAS, chain, rich_graph, station, visits

from pathc.ir.facts import Blocks, Distinct, Mixing, Valence
from pathc.ir.graph import Axis, Graph, Line, Station, Target, Visit
from pathc.ir.order import station_order
from pathc.ir.passes.structure import Structure
from pathc.ir.types import Call, Quantity, Word
from pathc.ir.verify import RULES, verify, violations
from pathc.support.codes import catalogue
from pathc.support.diagnostics import PathcError
from pathc.support.source import Loc

GOOD = chain((16, 16, 16), 64)
MAIN = GOOD.lines[0]


def with_line(**changes):
    return replace(GOOD, lines=(replace(MAIN, **changes),))


def with_lines(*lines):
    return replace(GOOD, lines=(MAIN, *lines))


def with_station(index, **changes):
    stations = list(GOOD.stations)
    stations[index] = replace(stations[index], **changes)
    return replace(GOOD, stations=tuple(stations))


def with_stage(*stages):
    return with_station(1, pipeline=stages)


def with_axes(name, *axes):
    return Visit(name, axes[0][0], axes=tuple(Axis(*axis) for axis in axes))


def with_fact(*facts):
    return replace(GOOD, facts=facts)


BLOCKS = Structure()(GOOD).facts[0]


def with_blocks(**changes):
    return with_fact(replace(BLOCKS, **changes))


WRONG = [
    ("E0301", replace(GOOD, name="my net")),
    ("E0301", with_station(1, name="h-1")),
    ("E0301", with_station(1, name="s0")),
    ("E0301", with_lines(MAIN)),
    ("E0301", replace(GOOD, targets=(Target("t", "llvm"), Target("t", "cuda")))),
    ("E0302", with_line(visits=visits("s0", "s3"))),
    ("E0302", with_line(mirror="encode")),
    ("E0302", with_fact(Distinct("mian", 1, 4))),
    ("E0303", with_lines(Line("loop", "skip", visits("s2", "s1")))),
    ("E0303", with_lines(Line("self", "skip", visits("s1", "s1")))),
    ("E0304", with_station(1, shape=())),
    ("E0304", with_station(1, shape=(0,))),
    ("E0304", with_station(1, shape=(4, -1, 3))),
    ("E0304", with_station(1, declared=17)),
    ("E0304", with_station(1, declared=-1)),
    ("E0305", with_line(visits=visits("s0"))),
    ("E0305", with_line(visits=())),
    ("E0305", with_lines(Line("back", "skip", visits("s1", "s0")))),
    ("E0306", with_line(count=0)),
    ("E0306", with_line(count=-4)),
    ("E0306", with_lines(Line("d", "dense", visits("s0", "s1"), 4))),
    ("E0307", replace(with_lines(Line("s", "skip", visits("s0", "s1"))), stations=(
        GOOD.stations[0], replace(GOOD.stations[1], shape=(8,)), GOOD.stations[2]))),
    ("E0307", with_lines(Line("s", "skip", visits("s0", "s1"), scale=float("nan")))),
    ("E0308", with_line(tied=True)),
    ("E0308", with_lines(Line("m", "paths", visits("s0", "s1", "s2"), 32, mirror="main"))),
    ("E0308", with_lines(Line("m", "paths", visits("s0", "s1"), 64, mirror="main"))),
    ("E0308", with_lines(Line("m", "dense", visits("s0", "s1", "s2"), mirror="main"))),
    ("E0308", with_lines(Line("m", "paths", visits("s0", "s1", "s2"), 64, mirror="n"),
                         Line("n", "paths", visits("s0", "s1", "s2"), 64, mirror="main"))),
    ("E0309", with_fact(Distinct("main", 3, 4))),
    ("E0309", with_fact(Distinct("main", 0, 4))),
    ("E0309", with_fact(Valence("main", 3, 1, 1, 1))),
    ("E0310", with_fact(Distinct("main", 1, -4))),
    ("E0310", with_fact(Mixing("main", (1, -2), (3, 4), 1))),
    ("E0310", with_blocks(length=48)),
    ("E0310", with_blocks(length=0)),
    ("E0310", with_blocks(start=8)),
    ("E0310", with_blocks(start=64)),
    ("E0310", with_blocks(src_reps=())),
    ("E0310", with_blocks(length=1)),
    ("E0310", with_blocks(src_basis=(1, 1))),
    ("E0310", with_blocks(src_shift=16)),
    ("E0310", with_blocks(dst_basis=(16, 1))),
    ("E0310", with_blocks(src_shift=BLOCKS.src_shift ^ 1)),
    ("E0310", with_blocks(src_reps=BLOCKS.dst_reps, dst_reps=BLOCKS.src_reps)),
    ("E0310", with_fact(BLOCKS, BLOCKS)),
    ("E0310", replace(with_line(generator=Call("random")), facts=(BLOCKS,))),
    ("E0310", replace(with_line(visits=(Visit("s0", 0), Visit("s1", 3), Visit("s2", 2))), facts=(BLOCKS,))),
    ("E0311", with_station(0, role="layer")),
    ("E0311", with_station(2, role="layer")),
    ("E0312", with_stage(Call("rleu"))),
    ("E0312", with_stage(Call("full"))),
    ("E0312", with_line(generator=Call("relu"))),
    ("E0312", with_line(sign=Call("sobol"))),
    ("E0313", with_stage(BIAS, BIAS)),
    ("E0313", with_stage(Call("leaky", (("solpe", 0.1),)))),
    ("E0313", with_stage(Call("leaky", (("slope", "steep"),)))),
    ("E0313", with_stage(Call("leaky", (("slope", float("nan")),)))),
    ("E0313", with_stage(Call("kwinners"))),
    ("E0313", with_stage(Call("kwinners", (("k", 0),)))),
    ("E0313", with_stage(Call("kwinners", (("k", 2.0),)))),
    ("E0313", with_stage(Call("kwinners", (("k", True),)))),
    ("E0313", with_stage(Call("lstm", (("gates", Word("many")),)))),
    ("E0313", with_stage(Call("lstm", (("recur", Call("band")),)))),
    ("E0312", with_stage(Call("lstm", (("recur", Call("relu")),)))),
    ("E0313", with_stage(Call("lstm", (("recur", Call("sparse", (("density", Quantity(2, "MHz")),))),)))),
    ("E0314", with_line(visits=(Visit("s0", -1), Visit("s1", 0)))),
    ("E0314", with_line(visits=(with_axes("s0", (0, 2), (-1, 8)), Visit("s1", 0)))),
    ("E0316", with_line(visits=(with_axes("s0", (0, 3), (1, 5)), Visit("s1", 0)))),
    ("E0316", with_line(visits=(Visit("s0", 0), with_axes("s1", (0, -2), (1, -8))))),
]  # fmt: skip


@pytest.mark.parametrize(("code", "graph"), WRONG)
def test_every_rule_finds_what_breaks_it(code, graph):
    with pytest.raises(PathcError) as caught:
        verify(graph)
    assert {d.code for d in caught.value.diagnostics} == {code}
    assert all(d.code in catalogue() for d in caught.value.diagnostics)


def test_every_code_of_the_verifier_is_provoked():
    # what stations with extents break is tested with them
    declared = {code for code in catalogue() if "E0301" <= code <= "E0316"} - {"E0315"}
    assert {code for code, _ in WRONG} == declared


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_good_graphs_pass(activation):
    verify(rich_graph(activation))
    verify(rich_graph(activation, tied=False))
    verify(Structure()(GOOD))
    verify(with_stage(Call("lstm", (("recur", Call("band", (("width", 9),))), ("gates", Word("shared"))))))


def test_structure_facts_of_uneven_sizes_pass():
    for sizes, count in (((256, 16, 64), 12288), ((8, 1, 8), 8), ((1024, 256), 1 << 30)):
        graph = Structure()(chain(sizes, count))
        assert list(graph.facts_of(Blocks))
        verify(graph)


@pytest.mark.parametrize("field", ["src_basis", "dst_basis", "src_reps", "dst_reps"])
def test_no_false_base_of_blocks_passes(field):
    for i, vector in enumerate(getattr(BLOCKS, field)):
        for changed in set(range(16)) - {vector}:
            vectors = getattr(BLOCKS, field)
            assert violations(with_blocks(**{field: (*vectors[:i], changed, *vectors[i + 1 :])}))


def test_blocks_of_deep_lines_are_checked_quickly():
    graph = Structure()(chain((256,) * 500, 1 << 20))
    start = time.perf_counter()
    verify(graph)
    assert time.perf_counter() - start < 5


def test_diagnostics_point_to_the_guilty_node():
    place = Loc("m.path", 9, 2)
    (found,) = violations(with_lines(Line("m", "paths", (Visit("s0", 0), Visit("s9", 0, place)), 4)))
    assert found.place == place
    assert "s9" in found.message


def test_rules_are_documented_and_ordered_by_level():
    levels = [rule.level for rule in RULES]
    assert levels == sorted(levels)
    assert all(rule.doc.endswith(".") for rule in RULES)
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_order_follows_the_lines():
    stations = (station("y", "output", 2), station("h", "layer", 2), station("x", "input", 2))
    graph = Graph("g", stations, (Line("a", "skip", visits("x", "h", "y")), Line("b", "skip", visits("x", "y"))))
    assert station_order(graph) == ("x", "h", "y")
    (found,) = violations(replace(graph, lines=(*graph.lines, Line("c", "skip", visits("y", "h")))))
    assert "`h`" in found.message
    assert "`y`" in found.message


def test_many_stations_are_verified_quickly():
    stations = [Station(f"s{i}", "layer", (4,)) for i in range(2000)]
    stations[0], stations[-1] = station("s0", "input", 4), station("s1999", "output", 4)
    line = Line("main", "paths", visits(*(s.name for s in stations)), 8)
    verify(Graph("deep", tuple(stations), (line,)))
