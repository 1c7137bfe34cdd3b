from __future__ import annotations

import json
from pathlib import Path

import pytest
from nets import net

from pathc.driver import load
from pathc.ir.cost import cost, recurrent_weights, structure_weights
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.types import Call, Quantity, Size, Word

VCTK = Path(__file__).parents[2] / "examples" / "vctk.path"


def test_paths_cost_paths_times_depth():
    found = cost(net((1024, 256, 16), (0, 1, 2), 8192))
    assert (found.weights, found.macs, found.bytes) == (16384, 16384, 65536)
    assert found.weights_dense_equivalent == 1024 * 256 + 256 * 16
    assert json.loads(json.dumps(found.as_json()))["lines"][0]["weights"] == 16384


def test_huge_nets_are_counted_without_paths():
    assert cost(net((1 << 20, 1 << 20), (0, 1), 1 << 40)).weights == 1 << 40


def test_tied_dense_skip_and_bias():
    stations = (
        Station("x", "input", (64,), declared=50),
        Station("h", "layer", (32,), pipeline=(Call("bias"),)),
        Station("y", "output", (64,)),
    )
    there, back = (Visit("x", 0), Visit("h", 1)), (Visit("h", 0), Visit("y", 1))
    lines = (
        Line("enc", "paths", there, 256),
        Line("dec", "paths", back, mirror="enc", tied=True),
        Line("head", "dense", back),
        Line("res", "skip", (Visit("x", 0), Visit("y", 1))),
    )
    found = cost(Graph("net", stations, lines))
    assert [line.weights for line in found.lines] == [256, 0, 32 * 64, 0]
    assert [line.macs for line in found.lines] == [256, 256, 32 * 64, 64]
    assert found.lines[0].weights_dense_equivalent == 50 * 32
    assert found.biases == 32
    assert found.bytes == 4 * (256 + 32 * 64 + 32)


def test_convolutions_count_filters_and_positions():
    conv = Call("conv", (("kernel", Size((3, 3))), ("pad", Word("same"))))
    stations = (Station("x", "input", (4, 8, 8)), Station("y", "output", (8, 8, 8), pipeline=(conv,)))
    found = cost(Graph("net", stations, (Line("main", "paths", (Visit("x", 0), Visit("y", 1)), 16),)))
    assert (found.weights, found.macs, found.weights_dense_equivalent) == (16 * 9, 16 * 9 * 64, 4 * 8 * 9)


def lstm(units, recur):
    return Station("h", "layer", (units,), pipeline=(Call("lstm", (("recur", recur),)),))


@pytest.mark.parametrize(
    ("recur", "total", "recurrent"),
    [
        (Call("full"), 1_280_000, 640_000),
        (Call("grouped", (("groups", 4),)), 800_000, 160_000),
        (Call("diag"), 641_600, 1_600),
        (Call("band", (("width", 9),)), 654_320, 14_320),
    ],
)
def test_golden_counts_of_the_one_layer_language_model(recur, total, recurrent):
    stations = (Station("x", "input", (400,)), lstm(400, recur))
    found = cost(Graph("net", stations, (Line("in", "dense", (Visit("x", 0), Visit("h", 1))),)))
    assert found.recurrent_weights == recurrent
    assert found.weights + found.recurrent_weights == total


@pytest.mark.parametrize(("percent", "recurrent"), [(2, 243_072), (10, 1_112_944), (40, 4_047_840)])
def test_golden_bands_in_percent(percent, recurrent):
    band = Call("band", (("width", Quantity(float(percent), "%")),))
    assert sum(recurrent_weights(lstm(n, band)) for n in (1150, 1150, 400)) == recurrent


@pytest.mark.parametrize(("width", "count"), [(201, 401_548), (101, 204_298), (21, 42_898), (1, 2_048)])
def test_golden_bands_of_2048_units(width, count):
    assert structure_weights(Call("band", (("width", width),)), 2048) == count


@pytest.mark.parametrize(
    ("structure", "count"),
    [
        (Call("ring", (("width", 5),)), 500),
        (Call("ring", (("width", 501),)), 10000),
        (Call("band", (("width", 501),)), 10000),
        (Call("sparse", (("density", Quantity(10.0, "%")),)), 1000),
        (Call("paths", (("count", 77),)), 77),
    ],
)
def test_other_structures(structure, count):
    assert structure_weights(structure, 100) == count


def test_elementwise_cells_and_directions():
    both = (("bidirectional", Word("sum")),)
    counts = {name: recurrent_weights(Station("h", "layer", (10,), pipeline=(Call(name, both),)))
              for name in ("qrnn", "sru", "indrnn", "linear", "rnn", "gru")}  # fmt: skip
    assert counts == {"qrnn": 0, "sru": 40, "indrnn": 20, "linear": 20, "rnn": 200, "gru": 600}


@pytest.mark.parametrize(
    ("units", "band", "total", "recurrent"),
    [
        (768, 1535, 38_223_392, 17_717_760),
        (768, 1, 20_551_712, 46_080),
        (768, 155, 23_919_692, 3_414_060),
        (1100, 1, 38_092_268, 66_000),
        (1000, 201, 37_949_168, 5_757_000),
    ],
)
def test_golden_counts_of_the_speech_recognizer(units, band, total, recurrent):
    """The published columns count biases of the hidden side, too, as many as those of the gates of all five layers."""
    found = cost(load(VCTK, {"H": str(units), "C": str(band)}))
    hidden_biases = 5 * 2 * 3 * units
    assert found.biases == hidden_biases + 2 * 32
    assert found.recurrent_weights + hidden_biases == recurrent
    assert found.weights + found.recurrent_weights + found.biases + found.norms + hidden_biases == total


@pytest.mark.parametrize(
    ("recur", "total", "recurrent"),
    [
        (Call("full"), 1_128_448, 1_048_576),
        (Call("diag"), 81_920, 2_048),
        (Call("band", (("width", 103),)), 280_208, 200_336),
    ],
)
def test_golden_counts_of_the_phoneme_classifier(recur, total, recurrent):
    stations = (Station("x", "input", (39,)), lstm(512, recur))
    found = cost(Graph("net", stations, (Line("in", "dense", (Visit("x", 0), Visit("h", 1))),)))
    assert (found.recurrent_weights, found.weights + found.recurrent_weights) == (recurrent, total)


def test_one_input_matrix_for_all_gates():
    """PreLSTM-SIH and PreGRU-SIH save 3/4 and 2/3 of the input weights."""
    for name, gates in (("lstm", 4), ("gru", 3)):
        counts = []
        for choice in ("separate", "shared"):
            stage = Call("prernn", (("cell", Word(name)), ("recur", Call("full")), ("gates", Word(choice))))
            stations = (Station("x", "input", (512,)), Station("h", "layer", (2048,), pipeline=(stage,)))
            found = cost(Graph("net", stations, (Line("in", "dense", (Visit("x", 0), Visit("h", 1))),)))
            counts.append(found.weights + found.recurrent_weights)
        i, h = 512 * 2048, 2048**2
        assert counts == [gates * i + gates * h, i + gates * h]
