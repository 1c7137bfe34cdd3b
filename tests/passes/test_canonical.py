from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from nets import net

from pathc.ir.passes.canonical import Canonical
from pathc.ir.types import Call, Word

sobol_options = st.permutations(
    [("scramble", Word("none")), ("seed", 3), ("skip", 0)]
).flatmap(lambda o: st.integers(0, 3).map(lambda k: tuple(o[:k])))  # fmt: skip
stages = st.lists(
    st.sampled_from(
        [
            Call("identity"),
            Call("relu"),
            Call("bias"),
            Call("leaky", (("slope", 0.01),)),
            Call("lstm", (("recur", Call("full")),)),
        ]
    ),
    max_size=4,
)


def with_pipeline(graph, pipeline):
    first, *others = graph.stations
    return replace(graph, stations=(replace(first, pipeline=tuple(pipeline), declared=first.units), *others))


@given(sobol_options, stages)
def test_equal_meaning_gives_equal_graphs(options, pipeline):
    plain = net((8, 8), (0, 1), 16)
    spelled = with_pipeline(net((8, 8), (0, 1), 16, Call("sobol", options)), pipeline)
    once = Canonical()(spelled)
    assert Canonical()(once) == once
    assert once.lines == Canonical()(plain).lines
    assert [s.name for s in once.stations[0].pipeline] == [s.name for s in pipeline if s.name != "identity"]
    assert all(not stage.options for stage in once.stations[0].pipeline)


def test_a_seed_that_matters_stays():
    scrambled = net((8, 8), (0, 1), 16, Call("sobol", (("seed", 3), ("scramble", Word("shift")))))
    assert dict(Canonical()(scrambled).lines[0].generator.options) == {"scramble": Word("shift"), "seed": 3}


def test_words_outside_the_catalogue_are_left_alone():
    graph = with_pipeline(net((8, 8), (0, 1), 16), [Call("mystery", (("b", 1), ("a", 2)))])
    assert Canonical()(graph).stations[0].pipeline == (Call("mystery", (("b", 1), ("a", 2))),)
