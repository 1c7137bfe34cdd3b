"""Quantization of trained nets: samples, scales, calibration, the command."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from quantized_nets import rich

import pathc
from pathc.cli import main
from pathc.driver import load
from pathc.ir.compress.montecarlo import SAMPLINGS, sample_counts, sample_groups, sample_weights
from pathc.ir.compress.quantize import quantize
from pathc.ir.compress.report import report
from pathc.ir.compress.tensors import METHODS, Settings, quantize_values
from pathc.ir.facts import Scale, Sums
from pathc.ir.interp import evaluate, forward
from pathc.ir.interp.junctions import float_tensors
from pathc.ir.quantized import integer_forward, integer_network
from pathc.ir.text import parse_graph, print_graph
from pathc.ir.types import Call
from pathc.ir.verify import violations
from pathc.ir.weights import expected_tensors, save_weights
from pathc.support.diagnostics import PathcError
from pathc.support.source import Source

weights_1d = st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=1, max_size=300).filter(any)


@given(weights_1d, st.floats(0.1, 40.0), st.sampled_from(SAMPLINGS), st.integers(0, 1 << 40))
def test_samples_add_up_and_lie_where_the_weights_are(values, share, sampling, seed):
    w = np.array(values, dtype=np.float32)
    if not w.any():
        return
    samples = max(1, round(share * len(w)))
    q = sample_counts(w, samples, sampling, seed).astype(np.int64)
    assert np.abs(q).sum() == samples
    assert (q * w >= 0).all()
    assert (q[w == 0] == 0).all()
    near = {"systematic": 1, "stratified": 2}.get(sampling)
    if near is not None:
        exact = samples * np.abs(w.astype(np.float64)) / np.abs(w.astype(np.float64)).sum()
        assert (np.abs(np.abs(q) - exact) < near + 1e-9 * samples).all()


@given(weights_1d, st.floats(0.1, 40.0), st.sampled_from(SAMPLINGS), st.integers(0, 1 << 40))
def test_errors_are_handed_on_to_the_next_weight_of_the_same_sign(values, share, sampling, seed):
    w = np.array(values, dtype=np.float32)
    assume(w.any())
    samples = max(1, round(share * len(w)))
    q = sample_weights(w, samples, sampling, seed).astype(np.int64)
    assert np.abs(q).sum() == samples
    assert (q * w >= 0).all()
    assert (q[w == 0] == 0).all()
    near = {"systematic": 1, "stratified": 2}.get(sampling)
    if near is not None:
        exact = samples * w.astype(np.float64) / np.abs(w.astype(np.float64)).sum()
        for sign in (w > 0, w < 0):
            upto = np.cumsum((q - exact)[sign])
            assert (np.abs(upto) < near + 1e-9 * samples).all()
            assert np.ptp(np.append(upto, 0.0)) < near + 1e-9 * samples


@settings(max_examples=40)
@given(st.integers(0, 1000), st.sampled_from(["tensor", "unit"]))
def test_sums_of_a_unit_are_right_for_each_sign(seed, per):
    rng = np.random.default_rng(seed)
    units, values = rng.integers(0, 5, 200), rng.normal(size=200)
    chosen = Settings("mc", 3.0, per=per, seed=seed)
    q, steps = quantize_values(values, units, 5, chosen)
    exact = values / (steps if per == "tensor" else steps[units])
    assert (np.abs(q - exact) < 1 + 1e-6).all()
    for unit in range(5):
        own = units == unit
        if per == "unit":
            assert np.abs(q[own]).sum() == 3 * own.sum()
        for sign in (values > 0, values < 0):
            assert abs((q - exact)[own & sign].sum()) < 1 + 1e-6


def test_one_random_number_is_a_search_in_the_sum():
    """Against the definition: samples (i + xi) / N, each looked up in the cumulative sum."""
    w = np.random.default_rng(5).normal(size=1000)
    ends = np.cumsum(np.abs(w)) / np.abs(w).sum()
    q = np.abs(sample_counts(w, 3000, "systematic", 9).astype(np.int64))
    shifts = [
        xi
        for xi in np.linspace(0, 1, 4001)[:-1]
        if (np.bincount(np.searchsorted(ends, (np.arange(3000) + xi) / 3000, side="right"), minlength=1000) == q).all()
    ]
    assert shifts


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_weights_are_right_on_average(sampling):
    w = np.array([0.4, -0.3, 0.2, 0.07, -0.03])
    mean = np.mean([sample_counts(w, 7, sampling, seed) for seed in range(4000)], axis=0)
    np.testing.assert_allclose(mean, 7 * w, atol=0.05)


@pytest.mark.parametrize(("sampling", "share"), [("systematic", 69.8), ("stratified", 66.0), ("independent", 54.1)])
def test_published_share_of_bell_shaped_weights(sampling, share):
    w = np.random.default_rng(1).normal(size=200_000)
    q = sample_counts(w, len(w), sampling, 3)
    assert 100 * np.mean(q != 0) == pytest.approx(share, abs=0.4)
    assert int(np.abs(q).max()).bit_length() + 1 in (4, 5)


@settings(max_examples=40)
@given(st.integers(0, 1000), st.sampled_from(SAMPLINGS))
def test_groups_add_up_by_themselves(seed, sampling):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 9, 200)
    sizes = np.abs(rng.normal(size=200)) * (rng.random(200) < 0.7)
    totals = np.bincount(groups, sizes, 9)
    wanted = np.where(totals > 0, rng.integers(1, 60, 9), 0)
    expected = sizes * np.divide(wanted, totals, out=np.zeros(9), where=totals > 0)[groups]
    found = sample_groups(expected, groups, sampling, seed)
    assert np.bincount(groups, found, 9).tolist() == wanted.tolist()
    assert (found[sizes == 0] == 0).all()
    if sampling == "systematic":
        assert np.abs(found - expected[...]).max() < 1 + 1e-6


def drawn(graph, seed=0):
    rng = np.random.default_rng(seed)
    return {n: rng.normal(0, 0.4, shape).astype(np.float32) for n, shape in expected_tensors(graph).items()}


RELU = rich(Call("relu"))


@pytest.mark.parametrize("per", ["tensor", "unit"])
@pytest.mark.parametrize("scales", ["any", "power"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_net_that_integers_evaluate(method, per, scales):
    weights = drawn(RELU)
    x = np.random.default_rng(1).normal(size=(64, 6))
    result = quantize(RELU, weights, Settings(method, 4.0 if method == "mc" else 1.0, per=per, scales=scales), x)
    exact = forward(RELU, weights, x)
    size = np.sqrt(np.mean(exact**2))
    floats = forward(RELU, float_tensors(RELU, result.tensors), x)
    allowed = {"int8": 0.02, "bf16": 0.02, "mc": 0.25, "int4": 0.35, "ternary": 1.2}[method] * (
        2 if scales == "power" else 1
    )
    assert 0 < np.sqrt(np.mean((floats - exact) ** 2)) < allowed * size
    if method == "bf16":
        return
    assert violations(result.graph) == []
    assert parse_graph(Source("q.pir", print_graph(result.graph))) == result.graph
    integers = integer_forward(integer_network(result.graph, result.tensors), x)
    coarse = any(note.code == "W1302" for note in result.notes)
    assert coarse or method != "ternary"
    assert not coarse or method != "int8"
    assert np.sqrt(np.mean((integers - floats) ** 2)) < (0.5 if coarse else 0.03) * size
    if scales == "power":
        assert all(np.frexp(t)[0].min() == 0.5 for n, t in result.tensors.items() if n.endswith("1.scale"))
        assert all(f.multiplier == 1 or f.shift == 0 for f in result.graph.facts_of(Scale))
    assert {f.station for f in result.graph.facts_of(Sums)} == {s.name for s in RELU.stations}


def test_the_seed_decides():
    weights = drawn(RELU)
    found = [quantize(RELU, weights, Settings("mc", seed=s)).tensors["up.1"] for s in (1, 1, 2, 3, 4, 5)]
    assert (found[0] == found[1]).all()
    assert any((found[0] != other).any() for other in found[2:])


def test_report_names_the_sensitive_tensor():
    graph = load("examples/digits.path")
    from pathc.ir.weights import load_weights

    weights = load_weights("examples/digits.safetensors", graph)
    x = np.random.default_rng(0).integers(0, 17, (40, 64)).astype(float)
    found = report(graph, weights, quantize(graph, weights, Settings("mc", 1.0)), x)
    assert [t.error for t in found.tensors] == sorted((t.error for t in found.tensors), reverse=True)
    assert {t.name for t in found.tensors} == {"main.1", "main.2", "main.3"}
    assert 3 <= found.bits <= 5


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("E0509", lambda w, x: ({**w, "up.1": w["up.1"] * np.nan}, x, Settings())),
        ("E0509", lambda w, x: ({**w, "up.1": w["up.1"] + np.inf}, x, Settings())),
        ("E1310", lambda w, x: ({**w, "up.1": w["up.1"] * 0}, x, Settings())),
        ("E0512", lambda w, x: (w, x[:, :5], Settings())),
        ("E1311", lambda w, x: (w, x[:0], Settings())),
        ("E1311", lambda w, x: (w, x * np.nan, Settings())),
        ("E1311", lambda w, x: (w, x, Settings("mc", 0.0))),
        ("E1311", lambda w, x: (w, x, Settings("mc", float("nan")))),
        ("E1311", lambda w, x: (w, x, Settings(quantile=0.1))),
        ("E1306", lambda w, x: (w, x, Settings("mc", 500.0))),
    ],
)
def test_bad_input_is_refused(code, change):
    weights, data, chosen = change(drawn(RELU), np.ones((3, 6)))
    with pytest.raises(PathcError, match=code):
        quantize(RELU, weights, chosen, data)


def test_wide_integers_are_said():
    result = quantize(RELU, drawn(RELU), Settings("mc", 500.0))
    assert {n.code for n in result.notes} == {"W1301"}
    assert result.tensors["up.1"].dtype == np.int16


def test_command_writes_what_runs_on_every_target(tmp_path, capsys):
    out = tmp_path / "q.safetensors"
    digits = ["examples/digits.path", "--weights", "examples/digits.safetensors"]
    assert main(["quantize", *digits, "--data", "digits", "--scale", "1", "--method", "int8", "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "average bits 8.00" in said
    assert "integers 98." in said
    x = tmp_path / "x.npy"
    np.save(x, np.random.default_rng(0).integers(0, 17, (5, 64)).astype(np.float32))
    got = {}
    for target, model in (
        ("llvm", digits[0]),
        ("reference", digits[0]),
        ("reference{integers=true}", str(out.with_suffix(".pir"))),
    ):
        y = tmp_path / "y.npy"
        assert main(["run", model, "-t", target, "--weights", str(out), "--input", str(x), "-o", str(y)]) == 0
        got[target] = np.load(y)
    capsys.readouterr()
    np.testing.assert_allclose(got["llvm"], got["reference"], atol=1e-5)
    assert 0 < np.abs(got["reference{integers=true}"] - got["reference"]).max() < 0.1


def test_command_writes_nothing_when_it_refuses(tmp_path, capsys):
    graph = load("examples/digits.path")
    save_weights(tmp_path / "w.npz", {n: np.zeros(s, np.float32) for n, s in expected_tensors(graph).items()})
    out = tmp_path / "q.safetensors"
    assert main(["quantize", "examples/digits.path", "--weights", str(tmp_path / "w.npz"), "-o", str(out)]) == 1
    assert "E1310" in capsys.readouterr().err
    assert not out.exists()


def test_biases_take_back_what_shifts_the_means():
    graph = rich(Call("relu"))
    weights = drawn(graph, 3)
    x = np.random.default_rng(2).normal(size=(200, 6))
    exact = evaluate(graph, weights, x)
    shifts = {}
    for correct in (False, True):
        result = quantize(graph, weights, Settings("mc", 1.0, per="unit", correct=correct), x)
        found = evaluate(graph, float_tensors(graph, result.tensors), x)
        real = {s.name: slice(s.real_units) for s in graph.stations}
        moved = {name: (found.sums[name] - sums)[:, real[name]].mean(axis=0) for name, sums in exact.sums.items()}
        shifts[correct] = {name: np.abs(mean) for name, mean in moved.items()}
    steps = {each.station.name: each.sum_scale for each in integer_network(result.graph, result.tensors).stations}
    # Behind the first station the rounding of the biases in front adds to half a step.
    assert (shifts[True]["e"] <= 0.51 * steps["e"]).all()
    for name in ("e", "c", "y"):
        assert 5 * shifts[True][name].max() < shifts[False][name].max()


def test_channels_keep_their_means_over_all_positions():
    stations = (
        "input x[2, 6x6]\nlayer a[4] : conv(3x3) | bias | relu\nlayer b[4] : conv(3x3) | bias\noutput y[3] : bias"
    )
    graph = pathc.load(Source("m.path", f"pathc 1\n{stations}\ndense p : x -> a -> b -> y\n"))
    weights = drawn(graph, 3)
    x = np.random.default_rng(2).uniform(size=(300, 2, 6, 6))
    result = quantize(graph, weights, Settings("int4"), x.reshape(300, -1))
    exact, found = (evaluate(graph, w, x[:256]) for w in (weights, float_tensors(graph, result.tensors)))
    shift = (found.sums["a"] - exact.sums["a"]).reshape(256, 4, -1).mean(axis=(0, 2))
    assert (np.abs(shift) <= 0.51 * integer_network(result.graph, result.tensors).station("a").sum_scale.max()).all()
    shift = (found.sums["b"] - exact.sums["b"]).reshape(256, 4, -1).mean(axis=(0, 2))
    assert np.abs(shift).max() < 0.01 * np.abs(exact.sums["b"]).mean()
