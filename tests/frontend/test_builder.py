"""Models built from Python have the tree of the text they print."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathc.frontend.api import load
from pathc.frontend.builder import Model, Quoted
from pathc.frontend.format import format_source
from pathc.frontend.parser import parse
from pathc.ir.types import Call, Quantity, Size, Word
from pathc.support.diagnostics import PathcError
from pathc.support.source import Source


def same(model: Model) -> None:
    """The model's tree is that of its text, and the text is in its final layout."""
    source = Source("m.path", model.source())
    assert parse(source) == model.ast()
    assert format_source(source) == model.source()


def test_classifier() -> None:
    m = Model("mnist", doc="A net\nfor digits")
    paths = m.let("P", "8Ki")
    x = m.input("pixels", 784, type="u8", pad="pow2")
    hidden = [m.layer(f"h{i}", 256).bias().leaky(0.1) for i in range(3)]
    y = m.output("digits", 10, doc="ten of them").softmax()
    m.paths("main", [x @ 0, hidden[0] @ 1, hidden[1] @ 2, hidden[2] @ 4, y @ 5], count=paths, scramble="lms", seed=3)
    same(m)
    graph = m.graph()
    assert graph.doc == "A net\nfor digits"
    assert graph.station("pixels").units == 1024
    assert graph.station("digits").doc == "ten of them"
    assert [v.dim for v in graph.line("main").visits] == [0, 1, 2, 4, 5]
    assert graph.line("main").generator == Call("sobol", (("scramble", Word("lms")), ("seed", 3)))
    assert m.graph(overrides={"P": "64"}).line("main").count == 64
    assert graph == load(Source("m.path", m.source()))


def test_axes() -> None:
    m = Model("local")
    across = m.let("G", 4)
    x, h, y = m.input("x", 784), m.layer("h", "G * G * 32").relu(), m.output("y", 10)
    m.paths("main", [x @ [(0, 28), (1, 28)], h @ [(0, across), (1, "G"), (2, "2 * 16")], y @ 3], count=512)
    same(m)
    assert [v.drawn for v in m.graph().line("main").visits] == ["(0:28, 1:28)", "(0:4, 1:4, 2:32)", "3"]


def test_everything_else() -> None:
    m = Model("all")
    m.use("targets.path")
    image = m.input("image", 3, 32, 32)
    sound = m.input("sound", 39, 100, type="fix(8, frac = 4)")
    c1 = m.layer("c1", 16).conv((3, 3), pad=Word("same"), stride=Size((2, 2))).relu().stage("maxpool", (2, 2))
    t1 = m.layer("t1", 16).conv(5, causal=True).avgpool("global")
    r1 = m.layer("r1", 64).lstm(recur=Call("band", (("width", Quantity(2.0, "%")),)), gates="shared")
    p1 = m.layer("p1", 64).prernn(cell="gru", init=Quoted('fc "1".safetensors'))
    y = m.output("y", "8 * 2", doc="what\n\n  comes out")
    m.paths("a", [image, c1], count="2Ki", sequence="interleaver(kind = ss+md, z = 16)")
    m.paths("b", [sound, t1], count=64, sign="bit(3)")
    m.dense("d", ["c1", "y"])
    m.paths("e", [t1, r1, p1, y], count=64, sequence=Call("random", (("seed", 7),)))
    m.skip("s", t1, y, scale=0.5, doc="for good measure")
    m.target("chip", "tvm-llvm", clock="200 MHz", array=(16, 16), exact=False, note=Quoted("a\nb"))
    same(m)


@given(
    st.lists(st.sampled_from([1, 2, 3, 300, 1024]), min_size=2, max_size=30),
    st.integers(1, 1 << 40),
    st.sampled_from(["none", "shift", "lms", "owen"]),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
)
@settings(max_examples=40, deadline=None)
def test_any_chain(sizes: list[int], count: int, scramble: str, dims: bool, scale: float) -> None:
    m = Model("chain")
    stations = [m.input("s0", sizes[0])]
    stations += [m.layer(f"s{i}", n).relu() for i, n in enumerate(sizes[1:-1], 1)]
    stations += [m.output("out", sizes[-1])]
    chain = [s @ i for i, s in enumerate(stations)] if dims else stations
    m.paths("main", chain, count=count, scramble=scramble, scale=scale)
    same(m)
    line = m.graph().line("main")
    assert (line.count, line.scale, len(line.visits)) == (count, scale, len(sizes))


def test_mistakes_point_into_the_text_the_model_prints() -> None:
    m = Model("bad")
    x = m.input("x", 4)
    y = m.output("y", 4).rleu()
    m.paths("main", [x, y], count=0)
    with pytest.raises(PathcError) as caught:
        m.graph()
    assert [d.code for d in caught.value.diagnostics] == ["E0213", "E0209"]
    assert str(caught.value.diagnostics[0].loc).startswith("<bad>:")
    with pytest.raises(PathcError, match="E0106"):
        m.layer("z", "4k")
    with pytest.raises(PathcError, match="E010"):
        m.layer("z", "4] : relu")
    with pytest.raises(TypeError):
        m.layer("z", 4, type="3")
