"""Gemmini words against the integer interpreter, and what the model of them refuses."""

from __future__ import annotations

import numpy as np
import pytest
from engine_nets import chain, quantized, rich
from hypothesis import given, settings
from hypothesis import strategies as st

from pathc.backends.engine.array import gemmini as g
from pathc.backends.engine.array.gemmini import Word, gemmini_text, image_of, images
from pathc.backends.engine.array.gemmini_model import Gemmini
from pathc.backends.engine.array.tiles import tiling_of
from pathc.backends.engine.machine import Machine
from pathc.ir.quantized import evaluate_integers, integer_network
from pathc.ir.types import Call
from pathc.support.diagnostics import PathcError


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 9), st.sampled_from([2, 4]), st.booleans(),
       st.integers(0, 99))  # fmt: skip
def test_words_multiply(inputs: int, outputs: int, samples: int, dim: int, unsigned: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (outputs, inputs)) * (rng.random((outputs, inputs)) < 0.4)
    values = rng.integers(0, 256, (samples, inputs)) if unsigned else rng.integers(-128, 128, (samples, inputs))
    destinations, sources = np.nonzero(weights)
    orders = rng.permutation(inputs), rng.permutation(outputs)
    tiling = tiling_of(sources, destinations, weights[destinations, sources], orders, dim)
    image = image_of(tiling, samples, unsigned)
    memory = image.memory(values)
    Gemmini(dim, memory).run(image.words)
    assert np.array_equal(image.read(memory), values @ weights.T)


@pytest.mark.parametrize("dim", [0, 4])
def test_every_junction_of_nets(dim: int) -> None:
    rng = np.random.default_rng(0)
    for graph in (chain(256, 64, 32, 16), chain(60, 30, 20, 10), rich(Call("relu"))):
        net = integer_network(*quantized(graph, 3))
        rows = {s.name: rng.integers(-100, 100, (3, s.units)) * (np.arange(s.units) < s.real_units)
                for s in net.graph.inputs}  # fmt: skip
        trace = evaluate_integers(net, rows)
        made = images(net, Machine(lanes=8, dim=dim), 3)
        pairs = [one for each in net.stations for one in net.into[each.station.name]]
        for (name, image), one in zip(made, pairs, strict=True):
            values = trace.values[one.junction.source]
            memory = image.memory(values)
            Gemmini(dim or 16, memory).run(image.words)
            found = image.read(memory)
            assert np.array_equal(found, one.push(values)[:, : found.shape[1]]), name


def test_the_text_has_a_line_a_word() -> None:
    net = integer_network(*quantized(chain(256, 64, 32, 16), 3))
    text = gemmini_text(net, Machine(), 2)
    made = images(net, Machine(), 2)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == sum(len(image.words) for _, image in made)
    assert lines[0].endswith("# config")
    funct, first, second = lines[1].split("#")[0].split()
    assert Word(int(funct), int(first, 16), int(second, 16)) == made[0][1].words[1]


SETUP = Word(g.CONFIG, g.ONE << 32 | 1 << 16 | 1 << 2, 1 << 48)
TILE = 4 << 48 | 4 << 32


@pytest.mark.parametrize(
    "words",
    [
        [Word(9, 0, 0)],
        [Word(g.CONFIG, g.ONE << 32 | 1 << 16, 0)],
        [Word(g.CONFIG, g.ONE << 32 | 1 << 16 | 1 << 8 | 1 << 2, 0)],
        [Word(g.CONFIG, 0 << 32 | g.CONFIG_LD, 4)],
        [Word(g.CONFIG, g.ONE << 32 | 3 << 3 | g.CONFIG_LD, 4)],
        [Word(g.CONFIG, 1 << 4 | g.CONFIG_ST, g.ONE << 32 | 4)],
        [Word(g.CONFIG, 3, 0)],
        [Word(g.MVIN, 61, TILE)],
        [Word(g.MVIN, 0, TILE | 16383)],
        [Word(g.MVIN, 0, 4 << 48 | 5 << 32)],
        [Word(g.MVOUT, 0, TILE)],
        [Word(g.MVOUT, 0, TILE | g.ACCUMULATOR)],
        [Word(g.MVOUT, 1 << 40, TILE | g.ACCUMULATOR | g.FULL)],
        [Word(g.PRELOAD, TILE, TILE | g.ACCUMULATOR)],
        [SETUP, Word(g.PRELOAD, TILE, TILE)],
        [SETUP, Word(g.PRELOAD, 2 << 48 | 4 << 32, TILE | g.ACCUMULATOR)],
        [SETUP, Word(g.PRELOAD, TILE, TILE | g.ACCUMULATOR | 1022)],
        [SETUP, Word(g.COMPUTE, TILE, TILE | g.NOWHERE)],
        [SETUP, Word(g.PRELOAD, TILE, 1 << 48 | 4 << 32 | g.ACCUMULATOR), Word(g.COMPUTE, TILE, TILE | g.NOWHERE)],
        [SETUP, Word(g.PRELOAD, TILE, TILE | g.ACCUMULATOR), Word(g.COMPUTE, TILE, TILE)],
    ],
)
def test_what_is_not_in_the_subset_is_refused(words: list[Word]) -> None:
    with pytest.raises(PathcError, match=f"E1072: word {len(words) - 1}"):
        Gemmini(4, bytearray(64)).run(words)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.builds(Word, st.integers(0, 15), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), max_size=4))
def test_hostile_words_give_diagnostics_alone(words: list[Word]) -> None:
    try:
        Gemmini(4, bytearray(256)).run([SETUP, *words])
    except PathcError as refused:
        codes = {d.code for d in refused.diagnostics}
    else:
        codes = {"E1072"}
    assert codes == {"E1072"}
