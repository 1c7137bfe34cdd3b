import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_nets import net, sobol

from pathc.ir.catalogue import INTERLEAVERS
from pathc.ir.facts import Bank, Blocks, Order
from pathc.ir.generators import resolve
from pathc.ir.generators.interleaver import interleave
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.passes import parse_pipeline
from pathc.ir.passes.interleave import Interleave
from pathc.ir.pipeline import load_graph, run_passes
from pathc.ir.schedule import KINDS, BlockSchedule, Schedule, check, schedule_of
from pathc.ir.text import parse_graph, print_graph
from pathc.ir.types import Call, Word
from pathc.support.diagnostics import PathcError
from pathc.support.source import Source


def run(graph, text):
    return run_passes(graph, parse_pipeline(text))


def orders(graph):
    return list(graph.facts_of(Order))


def drawn(kind, z=16, **options):
    return Call("interleaver", (("kind", Word(kind)), ("z", z), *options.items()))


def codes(graph, text):
    with pytest.raises(PathcError) as found:
        run(graph, text)
    return [d.code for d in found.value.diagnostics], found.value.diagnostics


def test_facts_as_text():
    text = print_graph(run(net((256, 64, 16), range(3), 1024), "bank{banks=16,map=high},interleave{kind=blocks,z=16}"))
    assert "  bank %s1 { banks = 16, map = high }\n" in text
    proved = "kind = blocks, z = 16, cycles = 64, stalls = 0, proof = algebra"
    assert f"  order $main.1 {{ {proved} }}  # clash-free, proved\n" in text


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([(64, 32), (100, 30, 7), (64, 48, 16), (1, 1), (3, 5)]),
    st.sampled_from([1, 48, 192, 256]),
    st.sampled_from(["blocks", "stall", "colour"]),
    st.integers(1, 20),
    st.sampled_from(["", "bank,", "bank{banks=3,map=low},", "bank{banks=4,map=custom,masks=2+1},"]),
)
def test_facts_are_what_the_checker_finds_and_come_back(sizes, count, kind, z, bank):
    graph = run(net(sizes, range(len(sizes)), count), f"{bank}interleave{{kind={kind},z={z}}}")
    assert parse_graph(Source("g.pir", print_graph(graph))) == graph
    assert len(orders(graph)) == len(sizes) - 1
    for order in orders(graph):
        schedule = schedule_of(graph, order)
        assert isinstance(schedule, BlockSchedule) == (order.proof == "algebra")
        verdict = check(schedule.write_out() if isinstance(schedule, BlockSchedule) else schedule)
        assert verdict.complete
        assert (order.cycles, order.stalls) == (verdict.cycles, verdict.stalls)


@pytest.mark.parametrize("kind", INTERLEAVERS)
def test_interleavers_are_clash_free_at_every_junction(kind):
    graph = run(net((64, 32, 64), range(3), 256, drawn(kind)), f"interleave{{kind={kind},z=16}}")
    assert {f.map for f in graph.facts_of(Bank)} == {"low"}
    for order in orders(graph):
        assert (order.kind, order.stalls, order.proof, order.writes) == (kind, 0, "count", False)
        verdict = check(schedule_of(graph, order), writes=False)
        assert verdict.complete
        assert verdict.clash_free
        assert (verdict.cycles, verdict.utilisation) == (16, 1.0)


def test_an_interleaver_reads_its_weights_in_order():
    graph = run(net((64, 32), range(2), 256), "interleave{kind=md+ss,z=16,seed=5,redraw=true}")
    line = graph.lines[0]
    assert line.generator == Call("interleaver", (("kind", Word("ss+md")), ("z", 16), ("seed", 5)))
    schedule = schedule_of(graph, orders(graph)[0])
    assert schedule.lanes.tolist() == np.arange(256).reshape(16, 16).tolist()
    pi = resolve(line, graph).junction(1)
    assert (schedule.source_units() == pi.reshape(16, 16) // 4).all()
    assert sorted(pi.tolist()) == sorted(interleave("ss+md", 64, 4, 16, 5).tolist())


def test_redrawing_forgets_what_was_found_out_about_the_paths():
    graph = run(net((64, 32), range(2), 256), "structure,bank{banks=16,map=low},interleave")
    assert list(graph.facts_of(Blocks))
    assert orders(graph)[0].stalls > 0
    other = run(graph, "interleave{kind=sv,redraw=true}")
    assert not list(other.facts_of(Blocks))
    assert list(other.facts_of(Bank)) == list(graph.facts_of(Bank))
    assert [order.kind for order in orders(other)] == ["sv"]
    again = run(other, "interleave{kind=sv}")
    assert again.lines == other.lines


def test_paths_are_not_redrawn_unasked():
    graph = net((64, 32), range(2), 256)
    assert codes(graph, "interleave{kind=sv}")[0] == ["E0353"]
    assert codes(net((64, 32), range(2), 256, drawn("sv", 8)), "interleave{kind=sv}")[0] == ["E0353"]
    assert codes(net((64, 32), range(2), 256, drawn("ss")), "interleave{kind=sv}")[0] == ["E0353"]


def test_a_mirrored_interleaver_is_not_free_of_clashes():
    graph = net((64, 32), range(2), 256, drawn("sv"))
    back = Line("back", "paths", (Visit("s1", 0), Visit("s2", 1)), mirror="main")
    stations = (*graph.stations[:1], Station("s1", "layer", (32,)), Station("s2", "output", (64,)))
    graph = dataclasses.replace(graph, stations=stations, lines=(*graph.lines, back))
    assert codes(graph, "interleave{kind=sv}")[0] == ["E0353"]
    assert [o.line for o in orders(run(graph, "interleave{kind=sv,line=main}"))] == ["main"]
    other = run(graph, "interleave{kind=sv,line=main},interleave{kind=colour,line=back}")
    assert [(o.line, o.kind, o.stalls) for o in orders(other)] == [("main", "sv", 0), ("back", "colour", 0)]


def test_every_kind_takes_its_turn():
    graph = net((64, 32), range(2), 256)
    for kind in KINDS:
        graph = run(graph, f"interleave{{kind={kind},redraw=true}}")
        assert [order.kind for order in orders(graph)] == [kind]
        assert all(schedule_of(graph, order).z == 16 for order in orders(graph))


def test_banks_chosen_later_are_counted_anew():
    graph = run(net((256, 256), range(2), 4096), "interleave{z=32}")
    assert orders(graph)[0].stalls == 0
    graph = run(graph, "bank{banks=32,map=low}")
    assert orders(graph)[0].stalls == 7 * 128
    graph = run(graph, "bank{banks=32},bank{banks=8,map=low,station=s1}")
    assert [(f.station, f.map) for f in graph.facts_of(Bank)] == [("s0", "high"), ("s1", "low")]


def test_reads_alone():
    graph = run(net((64, 8), range(2), 256), "interleave{writes=false}")
    assert orders(graph)[0].stalls == 0
    graph = run(net((64, 8), range(2), 256), "interleave{kind=colour,writes=false}")
    assert (orders(graph)[0].cycles, orders(graph)[0].writes) == (16, False)
    assert orders(run(graph, "interleave{kind=colour}"))[0].cycles == 32


def test_two_to_the_thirty_paths():
    graph = run(net((1 << 20, 1 << 16), range(2), 1 << 30), "interleave{z=64}")
    assert (orders(graph)[0].cycles, orders(graph)[0].proof) == (1 << 24, "algebra")
    graph = run(net((1000, 1000), range(2), 1 << 30), "interleave{z=64}")
    assert (orders(graph)[0].cycles, orders(graph)[0].stalls, orders(graph)[0].proof) == (1 << 24, -1, "none")
    assert parse_graph(Source("g.pir", print_graph(graph))) == graph
    assert codes(net((1000, 1000), range(2), 1 << 30), "interleave{kind=colour}")[0] == ["E0356"]


@pytest.mark.parametrize(
    ("graph", "text", "code", "cure"),
    [
        (net((64, 32), range(2), 256), "interleave{z=0}", "E0350", "z = 16"),
        (net((64, 32), range(2), 256), "interleave{kind=colur}", "E0351", "did you mean `colour`?"),
        (net((64, 32), range(2), 256), "interleave{kind=sv+sv}", "E0351", ""),
        (net((64, 32), range(2), 256), "interleave{line=mian}", "E0358", "did you mean `main`?"),
        (net((64, 32), range(2), 256), "bank{banks=0}", "E0350", "banks = 16"),
        (net((64, 32), range(2), 256), "bank{map=hgih}", "E0352", "did you mean `high`?"),
        (net((64, 32), range(2), 256), "bank{map=custom,masks=x}", "E0352", "masks = 128+64+32+16"),
        (net((64, 32), range(2), 256), "bank{map=custom,masks=1+2}", "E0352", "one mask for each bit"),
        (net((64, 32), range(2), 256), "bank{station=s7}", "E0358", ""),
        (net((60, 30), range(2), 240), "interleave{kind=sv,z=16,redraw=true}", "E0346", "; 64 units fill 16 memories"),
        (net((64, 48), range(2), 256), "interleave{kind=sv,z=16,redraw=true}", "E0343", "192"),
        (net((64, 16), range(2), 192), "interleave{kind=sv,z=16,redraw=true}", "E0354", "z = 12 or 24"),
    ],
)
def test_constraints_have_messages(graph, text, code, cure):
    found, diagnostics = codes(graph, text)
    assert found == [code]
    assert cure in diagnostics[0].help


def test_right_units_that_take_whole_cycles_fit():
    graph = run(net((64, 8), range(2), 256), "interleave{kind=sv,z=16,redraw=true}")
    assert (orders(graph)[0].cycles, orders(graph)[0].stalls) == (16, 0)


def test_the_next_junction_needs_memories_for_the_units_that_are_finished():
    first, second = net((64, 64), range(2), 128).lines[0], net((64, 64), range(2), 128).lines[0]
    graph = Graph(
        "net",
        (Station("a", "input", (64,)), Station("b", "layer", (64,)), Station("c", "output", (32,))),
        (
            dataclasses.replace(first, name="one", visits=(Visit("a", 0), Visit("b", 1))),
            dataclasses.replace(second, name="two", visits=(Visit("b", 0), Visit("c", 1))),
        ),
    )
    one = run(graph, "interleave{kind=sv,z=16,redraw=true,line=one}")
    found, diagnostics = codes(one, "interleave{kind=sv,z=4,redraw=true,line=two}")
    assert found == ["E0355"]
    assert diagnostics[0].help == "z = 8 or more for two.1"
    assert len(orders(run(one, "interleave{kind=sv,z=8,redraw=true,line=two}"))) == 2


@pytest.mark.parametrize(
    ("fact", "code"),
    [
        ("bank %s0 { banks = 0, map = high }", "E0350"),
        ("bank %s0 { banks = 4, map = custom, masks = [3] }", "E0352"),
        ("bank %s0 { banks = 4, map = top }", "E0405"),
        ("bank %s0 { banks = 4, map = high }\n  bank %s0 { banks = 4, map = low }", "E0310"),
        ("order $main.1 { kind = rows, z = 4, cycles = 1, stalls = 0, proof = none }", "E0351"),
        ("order $main.1 { kind = blocks, z = 0, cycles = 1, stalls = 0, proof = none }", "E0350"),
        ("order $main.1 { kind = blocks, z = 4, cycles = 1, stalls = -2, proof = none }", "E0310"),
        ("order $main.3 { kind = blocks, z = 4, cycles = 1, stalls = 0, proof = none }", "E0309"),
        ("order $side.1 { kind = blocks, z = 4, cycles = 1, stalls = 0, proof = none }", "E0302"),
    ],
)
def test_facts_in_texts_are_checked(fact, code):
    text = print_graph(net((64, 32), range(2), 256)).replace("}\n}", f"}}\n  {fact}\n}}")
    with pytest.raises(PathcError, match=code):
        load_graph(Source("g.pir", text))


def test_scrambled_paths_are_counted():
    graph = run(net((256, 256), range(2), 4096, sobol("owen", 1)), "interleave")
    assert (orders(graph)[0].stalls, orders(graph)[0].proof) == (0, "count")
    assert isinstance(schedule_of(graph, orders(graph)[0]), Schedule)


def test_passes_know_their_options():
    assert Interleave() == parse_pipeline("interleave")[0]
    assert (
        Interleave(kind="sv+md", z=8, seed=3, dither=True)
        == parse_pipeline("interleave{kind=sv+md,z=8,seed=3,dither=true}")[0]
    )
