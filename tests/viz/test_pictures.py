"""Pictures of graphs: golden files, sizes, what must be in them, and what cannot be drawn."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pathc
from pathc.driver import Options, load, transform
from pathc.gallery import KINDS, picture, unit_of
from pathc.ir.facts import Blocks
from pathc.ir.generators import resolve
from pathc.ir.graph import Graph
from pathc.ir.interp import forward
from pathc.support.diagnostics import PathcError, UsageError
from pathc.support.source import Source
from pathc.viz.dot import dot, quote
from pathc.viz.matrix import address_order, edges, image
from pathc.viz.metro import metro
from pathc.viz.palette import LINES, scale
from pathc.viz.reach import receptive_field

SVG = ("svg", "matrices", "fan")
TEN = """pathc 1
model ten
input  x[8]
layer  a[4] : relu
layer  b[4] : rnn(recur = diag)
output y[8] : softmax
paths main : x -> a -> y { count = 8 }
paths side : x -> b { count = 2 }
dense head : b -> y
skip  over : x -> y
"""


def graph_of(text: str, passes: str = "canonical,structure") -> Graph:
    return transform(load(Source("ten.path", text)), Options(pipeline=passes))


def elements(svg: str, tag: str) -> list[ET.Element]:
    return ET.fromstring(svg).findall(f".//{{http://www.w3.org/2000/svg}}{tag}")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_golden(kind: str, golden: Any) -> None:
    suffix = "dot" if kind == "dot" else "svg"
    golden(f"ten-{kind}.{suffix}", KINDS[kind](graph_of(TEN), ""))


def test_golden_with_banks(golden: Any) -> None:
    golden("ten-banks.svg", metro(graph_of(TEN, "structure,bank{banks=2}")))


def test_a_million_paths_are_drawn_in_a_moment_and_are_small() -> None:
    text = TEN.replace("count = 8", "count = 1Mi").replace("x[8]", "x[1Mi]").replace("a[4]", "a[1Mi]")
    graph = graph_of(text.replace("skip  over : x -> y\n", ""))
    start = time.perf_counter()
    drawn = metro(graph)
    assert time.perf_counter() - start < 2
    assert len(drawn) < 100_000
    assert "1,048,576 paths" in drawn


def test_every_path_of_a_small_line_is_drawn_where_it_runs() -> None:
    graph = graph_of(TEN)
    titles = [e.text for line in elements(metro(graph), "polyline") for e in line if e.text and "path " in e.text]
    paths = resolve(graph.line("main"), graph)
    x, a, y = (paths.units(v, 0, 8) for v in range(3))
    assert [t for t in titles if "a[" in t] == [f"path {i}: x[{x[i]}] a[{a[i]}] y[{y[i]}]" for i in range(8)]


def test_banks_colour_the_bars() -> None:
    drawn = metro(graph_of(TEN, "bank{banks=4}"))
    assert scale(0.0) in drawn
    assert scale(1.0) in drawn


@pytest.mark.parametrize("kind", SVG)
@pytest.mark.parametrize("name", sorted(p.name for p in Path("examples").glob("*.path") if p.name != "targets.path"))
def test_examples_give_well_formed_pictures(kind: str, name: str) -> None:
    source = Source(f"examples/{name}", (Path("examples") / name).read_text())
    if kind == "matrices" and not any(line.kind == "paths" for line in load(source).lines):
        with pytest.raises(PathcError, match="E1204"):
            picture(kind, source, Options())
        return
    drawn = picture(kind, source, Options())
    assert len(drawn) < 1_000_000
    tree = ET.fromstring(drawn)
    width, height = float(tree.attrib["width"]), float(tree.attrib["height"])
    for text in elements(drawn, "text"):
        assert 0 <= float(text.attrib["x"]) <= width
        assert 0 <= float(text.attrib["y"]) <= height


def test_text_is_escaped() -> None:
    graph = replace(graph_of(TEN), name='</text><script>alert("x")&\x00\x1b')
    for kind in SVG:
        drawn = KINDS[kind](graph, "")
        ET.fromstring(drawn)
        assert "<script" not in drawn
    assert quote('a"b\\c\n\x00') == '"a\\"b\\\\c\\n\ufffd"'


def test_long_names_and_one_unit() -> None:
    name = "A_9" * 20
    ends = f"input {name}x[1]\noutput {name}y[1]\n"
    text = f"pathc 1\nmodel {name}\n{ends}paths {name}l : {name}x -> {name}y {{ count = 1 }}\n"
    for kind in KINDS:
        drawn = KINDS[kind](graph_of(text), "")
        assert drawn
        if kind != "dot":
            ET.fromstring(drawn)


def test_what_cannot_be_drawn_is_said() -> None:
    many = "".join(f"layer h{i}[1]\n" for i in range(401))
    text = f"pathc 1\nmodel m\ninput x[2]\n{many}output y[2]\npaths p : x -> y {{ count = 2 }}\n"
    dense = "pathc 1\nmodel m\ninput x[2]\noutput y[2]\ndense d : x -> y\n"
    for call, code in (
        (lambda: metro(graph_of(text)), "E1201"),
        (lambda: receptive_field(graph_of(TEN), "nothing"), "E1202"),
        (lambda: receptive_field(graph_of(TEN), "y", 8), "E1202"),
        (
            lambda: KINDS["matrices"](graph_of(dense), ""),
            "E1204",
        ),
    ):
        with pytest.raises(PathcError) as caught:
            call()
        assert caught.value.diagnostics[0].code == code
    with pytest.raises(UsageError, match="E1205"):
        unit_of("y[")


def test_a_station_alone_is_its_first_unit() -> None:
    assert unit_of("digits[3]") == ("digits", 3)
    assert unit_of("digits") == ("digits", 0)


@given(st.integers(0, 3), st.integers(1, 40), st.sampled_from(["sobol", "random(seed = 2)"]))
def test_a_receptive_field_is_what_the_output_depends_on(unit: int, count: int, generator: str) -> None:
    """Inputs outside of the field do not move the unit; with positive weights those inside do."""
    text = (
        f"pathc 1\nmodel m\ninput x[8]\nlayer a[8]\noutput y[4]\n"
        f"paths p : x -> a -> y {{ count = {count}, sequence = {generator} }}\n"
    )
    graph = load(Source("m.path", text))
    heard = receptive_field(graph, "y", unit)["x"]
    weights = {name: np.ones(count, np.float32) for name in ("p.1", "p.2")}
    outputs = forward(graph, weights, np.eye(8, dtype=np.float32))
    assert (outputs[:, unit] > 0).tolist() == heard.tolist()


def test_dense_blocks_stand_on_the_diagonal() -> None:
    graph = graph_of("pathc 1\nmodel m\ninput x[64]\noutput y[64]\npaths p : x@2 -> y@3 { count = 256 }\n")
    fact = next(graph.facts_of(Blocks))
    assert fact.count > 1
    src, dst, left_out = edges(resolve(graph.line("p"), graph), 1)
    orders = address_order(graph, graph.line("p"), 1, src, dst)
    assert left_out == 0
    natural = image(src, dst, 64, 64)
    addressed = image(orders.sources[src], orders.destinations[dst], 64, 64)
    size = 64 // fact.count
    blocks = np.kron(np.eye(fact.count), np.ones((size, size)))
    assert np.array_equal(addressed, blocks)
    assert not np.array_equal(natural, blocks)
    assert natural.sum() == addressed.sum()


def test_colours_of_lines_differ_from_one_another() -> None:
    assert len(set(LINES)) == len(LINES)
    assert [scale(0), scale(1), scale(2)] == ["#440154", "#fde725", "#fde725"]


def test_dot_names_all_junctions() -> None:
    text = dot(graph_of(TEN))
    assert text.count("->") == 5 + 1
    assert pathc.load(Source("t.path", TEN)).name in text


def test_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from pathc.cli import main

    file = tmp_path / "ten.path"
    file.write_text(TEN)
    assert main(["dump", str(file), "--emit", "svg"]) == 0
    assert capsys.readouterr().out.startswith("<svg")
    assert main(["dump", str(file), "--emit", "fan", "--unit", "y[1]"]) == 0
    assert "y[1]" in capsys.readouterr().out
    assert main(["dump", str(file), "--emit", "svg", "--json"]) == 2
    assert "E0804" in capsys.readouterr().err
    assert main(["dump", "examples/unequal.path", "--emit", "svgg"]) == 2
    assert "did you mean `svg`" in capsys.readouterr().err
