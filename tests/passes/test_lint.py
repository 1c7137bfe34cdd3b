from __future__ import annotations

from dataclasses import replace

import pytest
from nets import PLAIN, net, sobol

from pathc.frontend import load
from pathc.ir.generators import resolve
from pathc.ir.graph import Axis, Station, Visit
from pathc.ir.passes.lint import lint
from pathc.ir.passes.sign_quality import sign_rank
from pathc.ir.passes.structure import line_blocks
from pathc.ir.types import Call
from pathc.support.codes import catalogue
from pathc.support.diagnostics import Severity
from pathc.support.source import Loc, Source


def codes(graph, **options):
    return [d.code for d in lint(graph, **options)]


def signed(graph, sign):
    return replace(graph, lines=tuple(replace(line, sign=sign) for line in graph.lines))


def test_a_good_net_has_nothing_to_say():
    assert codes(net((256,) * 5, range(5), 1024)) == []
    assert codes(net((1024, 256, 256, 16), range(4), 8192)) == []
    assert codes(net((784, 300, 300, 10), range(4), 4096)) == []


def test_falls_apart():
    (found,) = lint(net((256,) * 5, (0, 1, 0, 1, 0), 1024))
    assert found.code == "W0301"
    assert "dimension 0 of `s0` comes back" in found.message
    assert "sees at most 4 of the 256" in found.notes[0]
    assert "64 pieces" in found.notes[1]


def test_falls_apart_found_by_enumeration():
    assert codes(net((300,) * 4, (0, 1, 0, 1), 1200)) == ["W0301"]


def test_repeated_edges_name_a_better_dimension():
    found = lint(net((32, 32), (2, 3), 1024))
    assert [d.code for d in found] == ["W0302"]
    assert "2 times" in found[0].message
    assert "draws every edge once" in found[0].help
    better = int(found[0].help.split("@")[1].split("`")[0])
    assert codes(net((32, 32), (2, better), 1024)) == []


def near(places, count):
    """A line that stays where it is, through an image of 16 x 16 and 64 units at `places` across."""
    across = Axis(0, places), Axis(1, places), Axis(2, 64 // places**2)
    visits = Visit("s0", 0, axes=(Axis(0, 16), Axis(1, 16))), Visit("s1", 0, axes=across), Visit("s2", 3)
    graph = net((256, 64, 16), range(3), count)
    return replace(graph, lines=(replace(graph.lines[0], visits=visits),))


def test_patches_have_no_more_edges_than_pixels_times_units_of_a_place():
    assert codes(near(4, 1024)) == []
    (found,) = lint(near(4, 2048))
    assert (found.code, "2 times" in found.message) == ("W0302", True)
    assert "(0:16, 1:16) and (0:4, 1:4, 2:4)" in found.message
    assert "line of fewer paths" in found.help


def test_lines_that_come_back_to_a_place_fall_apart():
    graph = near(4, 1024)
    line = graph.lines[0]
    stations = (*graph.stations[:2], replace(graph.stations[2], shape=(256,)))
    there_and_back = replace(line, visits=(*line.visits[:2], replace(line.visits[0], station="s2")))
    (found,) = lint(replace(graph, stations=stations, lines=(there_and_back,)))
    assert found.code == "W0301"
    assert "dimension (0:16, 1:16) of `s0` comes back" in found.message
    assert "16 pieces" in found.notes[1]


@pytest.mark.parametrize(
    ("last", "finds"),
    [
        ((Axis(0, 4), Axis(1, 4), Axis(3, 4)), True),
        ((Axis(0, 8), Axis(1, 8)), True),
        ((Axis(0, 2), Axis(1, 2), Axis(3, 16)), False),
        ((Axis(3, 8), Axis(4, 8)), False),
    ],
)
def test_lines_near_where_they_are_carry_farther_to_fewer_places_or_new_dimensions(last, finds):
    graph = near(4, 1024)
    visits = (*graph.lines[0].visits[:2], Visit("s2", 0, axes=last))
    stations = (*graph.stations[:2], replace(graph.stations[2], shape=(64,)))
    line = replace(graph.lines[0], visits=visits)
    found = [d for d in lint(replace(graph, stations=stations, lines=(line,))) if d.code == "W0301"]
    assert len(found) == finds
    for each in found:
        assert "give `s2` fewer places than `s1`, or dimensions of its own" in each.help


@pytest.mark.parametrize(("count", "help"), [(1000, "count = 768 or 1024"), (100, "count = 256")])
def test_ragged_count(count, help):
    found = [d for d in lint(net((256, 256), (0, 1), count)) if d.code == "W0303"]
    assert [d.help for d in found] == [help]


def test_a_sum_of_windows_is_fine():
    assert codes(net((1024, 1024), (0, 1), 12288)) == []


@pytest.mark.parametrize(("skip", "help"), [(1, "skip = 0 or 1024"), (1025, "skip = 1024 or 2048")])
def test_skip_breaks_blocks(skip, help):
    found = lint(net((256, 256), (0, 1), 1024, sobol("none", skip=skip)))
    assert [(d.code, d.help) for d in found] == [("W0304", help)]
    assert codes(net((256, 256), (0, 1), 1024, sobol("none", skip=2048))) == []


@pytest.mark.parametrize(
    ("units", "power"), [(1000, 1024), (500, 512), (260, 256), (784, None), (300, None), (10, None), (256, None)]
)
def test_just_off_a_power_of_two(units, power):
    found = [d for d in lint(net((256, units), (0, 1), 4096)) if d.code == "W0305"]
    assert [f"`s1[{power}]`" in d.help for d in found] == ([True] if power else [])
    assert "W0305" not in codes(net((256, units), (0, 1), 4096, Call("random")))


def test_unused_stations():
    graph = net((64, 64, 64), (0, 1, 2), 256)
    extra = replace(graph, stations=(*graph.stations, Station("extra", "layer", (4,))))
    assert "stands on no line" in lint(extra)[0].message
    short = replace(graph, lines=(replace(graph.lines[0], visits=graph.lines[0].visits[:2]),))
    assert {d.message for d in lint(short)} == {
        "station `s1` is never read: no line leads on from it",
        "station `s2` stands on no line",
    }


def test_signs():
    graph = net((64, 64), (0, 1), 512)
    assert codes(signed(graph, Call("parity"))) == ["W0307", "W0308"]
    assert codes(signed(graph, Call("halves"))) == ["W0308"]
    assert codes(signed(graph, Call("random"))) == []
    assert codes(signed(graph, Call("positive"))) == ["W0308"]
    assert codes(signed(net((300, 300), (0, 1), 1200), Call("halves"))) == []


def test_rank_of_sign_rules():
    graph = net((64, 64), (0, 1), 1024)
    for sign, rank in (("halves", 1), ("parity", 1), ("hadamard", 16)):
        line = replace(graph.lines[0], sign=Call(sign))
        assert sign_rank(line, line_blocks(line, graph)[0], resolve(line, graph)) == rank


def test_units_on_no_path():
    found = lint(net((64, 64), (0, 1), 32))
    assert [d.code for d in found] == ["W0303", "W0309", "W0309"]
    assert "32 of 64 units" in found[1].message
    assert "W0309" in codes(net((784, 300, 10), (0, 1, 2), 1024, Call("random")))


@pytest.mark.parametrize(
    ("drawn", "count", "more"),
    [
        ("(0:5, 1:7)", 32, ""),
        ("(3:5, 4:7)", 32, ""),
        ("(0:5, 1:7)", 16, ", sequence = random"),
        ("9", 16, ", skip = 7"),
        ("9", 16, ""),
    ],
)
def test_the_cure_of_units_on_no_path_reaches_them(drawn, count, more):
    text = "pathc 1\ninput x[5 * 7]\noutput y[4]\npaths p : x@{} -> y@2 {{ count = {}{} }}\n"
    (found,) = (d for d in lint(load(Source("n.path", text.format(drawn, count, more)))) if d.code == "W0309")
    cure = int(found.help.split()[2])
    better = load(Source("n.path", text.format(drawn, cure, more if "skip" in more else "")))
    assert "W0309" not in {d.code for d in lint(better)}


def test_axes_that_share_a_dimension_reach_no_more_units_by_more_paths():
    text = "pathc 1\ninput x[5 * 7]\noutput y[4]\npaths p : x@(0:5, 0:7) -> y@2 { count = 4096 }\n"
    (found,) = (d for d in lint(load(Source("n.path", text))) if d.code == "W0309")
    assert found.help == "give every axis a dimension of its own"


def test_large_lines_are_not_enumerated():
    found = lint(net((300, 300), (0, 1), 1 << 30))
    assert [(d.code, d.severity) for d in found] == [("W0310", Severity.NOTE)]
    assert codes(net((1 << 16, 1 << 16), (0, 1), 1 << 30)) == []


def test_lints_have_a_place_and_are_explained():
    graph = net((32, 32), (2, 3), 1024, PLAIN)
    visits = (Visit("s0", 2, Loc("a.path", 3, 9)), Visit("s1", 3, Loc("a.path", 3, 17)))
    graph = replace(graph, lines=(replace(graph.lines[0], visits=visits),))
    (found,) = lint(graph)
    assert found.loc == Loc("a.path", 3, 17)
    assert found.severity is Severity.WARNING
    assert {f"W03{k:02}" for k in range(1, 11)} <= set(catalogue())
