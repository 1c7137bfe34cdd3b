from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from ir_nets import chain, rich_graph
from pir_strategies import graphs, values

from pathc.ir.facts import Blocks, Distinct, Fact
from pathc.ir.graph import Graph, Line, Station, Target, Visit
from pathc.ir.text import parse_graph, print_graph
from pathc.ir.text.cursor import Cursor
from pathc.ir.text.values import read_value, show
from pathc.ir.types import F32, Call, Quantity, ScalarType, Size, Value, Word, plain_type
from pathc.support.diagnostics import PathcError, render_all
from pathc.support.source import Loc, Source


def parse(text):
    return parse_graph(Source("net.pir", text))


def found(text):
    with pytest.raises(PathcError) as caught:
        parse(text)
    render_all(caught.value.diagnostics)
    return caught.value.diagnostics


def places(graph):
    nodes = [graph, *graph.stations, *graph.lines, *graph.targets, *graph.facts]
    return [node.loc for node in nodes] + [[v.loc for v in line.visits] for line in graph.lines]


SAMPLE = """\
pir 1
## Digits,
## drawn by paths
graph mnist  loc mlp.path:3:1 {
  ## what the camera sees
  %pixels : u8[784 pad 1024] = input  loc mlp.path:5:1
  %h1 : f32[256] = layer | bias | leaky(slope = 0.25)  loc mlp.path:6:1
  %digits : fix(8, frac = 4)[10] = output | softmax  loc "my nets/out.path":7:1
  $main = paths %pixels@0 -> %h1@1 -> %digits@5 { count = 4096, generator = sobol(scramble = owen, seed = 7), \
sign = hadamard }  loc mlp.path:9:1 at 9:14 _ other.path:1:2
  $head = dense %h1 -> %digits with { form = gemv, unroll = 4 }
  $back = paths %digits@5 -> %h1@1 -> %pixels@0 { count = 4096, generator = sobol, sign = halves, \
mirror = $main, tied = true }
  $res = skip %h1 -> %h1 { scale = -0.5 }
  target chip = engine { lanes = 16, array = 16x16, clock = 200 MHz, share = 2%, weights = i8, recur = full(), \
kernel = 3x, file = "a \\"b\\"" }  loc targets.path:1:1
  blocks $main.2 { start = 0, length = 16, src_basis = [1, 2], dst_basis = [4], src_reps = [8], dst_reps = [1] }\
  loc mlp.path:9:24  # 2 of 2x4, rank 4
  distinct $main.2 { edges = 12 }
}
"""


def test_sample_reads_as_meant():
    graph = parse(SAMPLE)
    pixels, h1, digits = graph.stations
    assert graph.doc == "Digits,\ndrawn by paths"
    assert (pixels.units, pixels.real_units, pixels.doc) == (1024, 784, "what the camera sees")
    assert h1.pipeline == (Call("bias"), Call("leaky", (("slope", 0.25),)))
    assert digits.type == ScalarType("fix", 8, 4)
    assert digits.loc == Loc("my nets/out.path", 7, 1)
    main, head, back, res = graph.lines
    assert main == Line(
        "main",
        "paths",
        (Visit("pixels", 0), Visit("h1", 1), Visit("digits", 5)),
        4096,
        Call("sobol", (("scramble", Word("owen")), ("seed", 7))),
    )
    assert [v.loc for v in main.visits] == [Loc("mlp.path", 9, 14), None, Loc("other.path", 1, 2)]
    assert head.options == (("form", Word("gemv")), ("unroll", 4))
    assert (back.mirror, back.tied) == ("main", True)
    assert res.scale == -0.5
    assert graph.targets[0].options == (
        ("lanes", 16),
        ("array", Size((16, 16))),
        ("clock", Quantity(200, "MHz")),
        ("share", Quantity(2, "%")),
        ("weights", plain_type("i8")),
        ("recur", Call("full")),
        ("kernel", Size((3,))),
        ("file", 'a "b"'),
    )
    assert graph.facts == (Blocks("main", 2, 0, 16, (1, 2), (4,), (8,), (1,)), Distinct("main", 2, 12))


def test_sample_is_canonical():
    assert print_graph(parse(SAMPLE)) == SAMPLE


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=80)
@given(graphs)
def test_what_is_printed_reads_back_with_its_places(graph):
    text = print_graph(graph)
    again = parse(text)
    assert again == graph
    assert places(again) == places(graph)
    assert print_graph(again) == text


@given(values)
def test_values_read_back(value):
    again = read_value(Cursor(Source("v", show(value))))
    assert again == value
    assert type(again) is type(value)


def test_a_graph_of_nothing():
    assert parse("pir 1\ngraph g {\n}") == Graph("g", (), ())


def test_blank_lines_comments_tabs_and_carriage_returns_do_not_matter():
    text = print_graph(rich_graph(Call("relu")))
    noisy = "# a comment\n\n" + text.replace(" = ", "\t=  ").replace("\n", "  # more\r\n\r\n")
    assert parse(noisy) == parse(text)


def test_nodes_without_place_point_into_the_text_on_request():
    text = print_graph(chain((4, 4), 4))
    assert parse(text).stations[1].loc is None
    graph = parse_graph(Source("net.pir", text), places="text")
    assert graph.stations[1].loc == Loc("net.pir", 4, 3)
    assert graph.lines[0].visits[1].loc == Loc("net.pir", 5, 26)


@dataclass(frozen=True)
class LaneOrder(Fact):
    """A fact with a field of every kind."""

    line: str
    visit: int
    kind: Literal["high", "low"]
    label: str
    lanes: tuple[int, ...]
    pairs: tuple[tuple[int, float], ...]
    share: float
    limit: int | None = None
    element: ScalarType = F32
    extra: Value = 0
    on: bool = False


@dataclass(frozen=True)
class Quiet(Fact):
    """A fact about the whole graph."""

    decibels: float = 0.5


@dataclass(frozen=True)
class Loud(Fact):
    """A fact about a station."""

    station: str


NEW_FACTS = (
    LaneOrder("main", 1, "high", "plain", (1, 2), ((1, 2.0), (3, 0.5)), 1.0, 5, plain_type("i8"), Word("none"), True),
    LaneOrder("main", 0, "low", "two words", (), (), 0.0, None, extra="none"),
    LaneOrder("main", 0, "low", "true", (), (), float("inf"), extra=Call("full")),
    Quiet(),
    Quiet(1e-9),
    Loud("s0"),
)


def test_new_facts_need_no_code_of_their_own():
    graph = replace(chain((4, 4), 4), facts=NEW_FACTS)
    text = print_graph(graph)
    assert parse(text) == graph
    lines = [line.strip() for line in text.splitlines()]
    assert lines[5] == (
        "lane_order $main@1 { kind = high, label = plain, lanes = [1, 2], pairs = [[1, 2.0], [3, 0.5]], "
        "share = 1.0, limit = 5, element = i8, extra = none, on = true }"
    )
    assert lines[8:11] == ["quiet", "quiet { decibels = 1e-09 }", "loud %s0"]


def test_what_could_not_be_read_back_is_not_printed():
    graph = replace(chain((4, 4), 4), facts=(replace(NEW_FACTS[0], extra={1: 2}),))
    with pytest.raises(TypeError):
        print_graph(graph)


def wrong(line):
    return f"pir 1\ngraph g {{\n  %x : f32[4] = input\n  {line}\n}}\n"


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("", "E0402", (1, 1)),
        ("graph g {\n}", "E0402", (1, 1)),
        ("pir 2\ngraph g {\n}", "E0402", (1, 5)),
        ("pir one", "E0401", (1, 5)),
        ("pir 1", "E0403", (1, 6)),
        ("pir 1\ngraph g {\n", "E0403", (3, 1)),
        ("pir 1\ngraph g {\n}\n}", "E0407", (4, 1)),
        ("pir 1 1\ngraph g {\n}", "E0401", (1, 7)),
        (wrong("%y f32[4] = input"), "E0401", (4, 6)),
        (wrong("%y : f33[4] = input"), "E0405", (4, 8)),
        (wrong("%y : f32[x] = input"), "E0401", (4, 12)),
        (wrong("%y : f32[-4] = input"), "E0405", (4, 12)),
        (wrong("%y : f32[4.5] = input"), "E0405", (4, 12)),
        (wrong(f"%y : f32[{'9' * 100}] = input"), "E0405", (4, 12)),
        (wrong("%y : f32[4] = inptu"), "E0404", (4, 17)),
        (wrong("%y : f32[4] = layer | "), "E0401", (4, 25)),
        (wrong("%y : f32[4] = layer | relu(a = 1, a = 2)"), "E0406", (4, 37)),
        (wrong("%y : f32[4] = layer ~"), "E0401", (4, 23)),
        (wrong("$a = path %x"), "E0404", (4, 8)),
        (wrong("$a = paths"), "E0401", (4, 13)),
        (wrong("$a = paths %x@0 -> %y@1 { cuont = 4 }"), "E0404", (4, 29)),
        (wrong("$a = paths %x { count = 4, count = 5 }"), "E0406", (4, 30)),
        (wrong("$a = paths %x { tied = 1 }"), "E0401", (4, 26)),
        (wrong("$a = paths %x { count = 4"), "E0401", (4, 28)),
        (wrong("$a = skip %x loc a:1"), "E0401", (4, 20)),
        (wrong("target t = engine { k = [1] }"), "E0401", (4, 27)),
        (wrong('target t = engine { k = "open }'), "E0401", (4, 27)),
        (wrong(f"target t = engine {{ k = {'9x' * 30}9 }}"), "E0405", (4, 27)),
        (wrong(f"target t = engine {{ k = {'f(a = ' * 60}"), "E0408", (4, 225)),
        (wrong("blcoks $x.1 { }"), "E0404", (4, 3)),
        (wrong("distinct $x.1"), "E0406", (4, 3)),
        (wrong("distinct $x"), "E0401", (4, 14)),
        (wrong("distinct $x.1 { egdes = 1 }"), "E0406", (4, 19)),
        (wrong("distinct $x.1 { edges = 1.5 }"), "E0405", (4, 27)),
        (wrong("distinct $x.1 { edges = true }"), "E0405", (4, 27)),
        (wrong("distinct $x.1 { edges = 1, edges = 1 }"), "E0406", (4, 30)),
        (wrong(f"mixing $x {{ least = {'[' * 60}"), "E0408", (4, 33)),
    ],
)
def test_errors_stand_at_the_guilty_token(text, code, place):
    first = found(text)[0]
    assert (first.code, (first.loc.line, first.loc.column)) == (code, place)


def test_several_errors_in_one_run():
    text = SAMPLE.replace("u8[", "u9[").replace("lanes", "lanes lanes").replace("edges", "egdes")
    assert [d.code for d in found(text)] == ["E0405", "E0401", "E0406"]
    assert len(found("pir 1\ngraph g {\n" + "?\n" * 1000)) == 20


def test_a_hint_names_the_word_that_was_meant():
    assert "`blocks`" in found(wrong("blcoks $x.1"))[0].help
    assert "`input`" in found(wrong("%y : f32[4] = inptu"))[0].help
    assert "`edges`" in found(wrong("distinct $x.1 { egdes = 1 }"))[0].help


def test_large_texts_are_read_in_linear_time():
    stations = tuple(Station(f"s{i}", "layer", (16,)) for i in range(4000))
    graph = Graph("big", stations, (), (Target("t", "engine", tuple((f"o{i}", i) for i in range(4000))),))
    assert parse(print_graph(graph)) == graph
