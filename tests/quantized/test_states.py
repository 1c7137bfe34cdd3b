"""State dictionaries of PyTorch: linear layers, batch norms and cells, against NumPy and the same weights as ONNX."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from pathc.cli import main
from pathc.exchange.states import import_state
from pathc.ir.interp import forward
from pathc.ir.verify import verify
from pathc.ir.weights import check_weights
from pathc.support.diagnostics import PathcError


def floats(*shape, seed=0):
    return (0.5 * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def brought(tmp_path, state, activation="relu"):
    save_file(state, tmp_path / "s.safetensors")
    graph, weights = import_state(tmp_path / "s.safetensors", activation)
    verify(graph)
    assert not check_weights(graph, weights)
    return graph, weights


def mlp():
    return {
        "net.0.weight": floats(8, 5),
        "net.0.bias": floats(8, seed=1),
        "net.1.weight": floats(8, seed=2),
        "net.1.bias": floats(8, seed=3),
        "net.1.running_mean": floats(8, seed=4),
        "net.1.running_var": np.square(floats(8, seed=5)) + 0.1,
        "net.1.num_batches_tracked": np.array(7),
        "net.3.weight": floats(6, 8, seed=6),
        "net.10.weight": floats(3, 6, seed=7),
        "net.10.bias": floats(3, seed=8),
    }


@pytest.mark.parametrize(("activation", "function"), [("relu", lambda v: np.maximum(v, 0)), ("tanh", np.tanh)])
def test_a_chain_in_the_order_of_the_numbers(tmp_path, activation, function):
    state = mlp()
    x = floats(11, 5, seed=9)
    graph, weights = brought(tmp_path, state, activation)
    h = x @ state["net.0.weight"].T + state["net.0.bias"]
    h = (h - state["net.1.running_mean"]) / np.sqrt(state["net.1.running_var"] + 1e-5)
    h = function(h * state["net.1.weight"] + state["net.1.bias"])
    h = function(h @ state["net.3.weight"].T)
    np.testing.assert_allclose(
        forward(graph, weights, x), h @ state["net.10.weight"].T + state["net.10.bias"], rtol=0, atol=2e-6
    )


def cells(kind, layers=2, sides=2, hidden=4, width=5):
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind]
    state = {}
    for layer in range(layers):
        for side in ("", "_reverse")[:sides]:
            end = f"_l{layer}{side}"
            arriving = width if layer == 0 else sides * hidden
            state[f"r.weight_ih{end}"] = floats(gates * hidden, arriving, seed=layer)
            state[f"r.weight_hh{end}"] = floats(gates * hidden, hidden, seed=layer + 10)
            state[f"r.bias_ih{end}"] = floats(gates * hidden, seed=layer + 20)
            state[f"r.bias_hh{end}"] = floats(gates * hidden, seed=layer + 30)
            if kind == "gru":
                state[f"r.bias_hh{end}"][2 * hidden :] = 0
    state["s.weight"] = floats(3, sides * hidden, seed=40)
    return state


def logistic(v):
    return 1 / (1 + np.exp(-v))


def step(kind, u, v, h, c):
    """One step of PyTorch's cells: `u` from the inputs, `v` from the state."""
    if kind == "rnn":
        return np.tanh(u + v), c
    if kind == "gru":
        (ur, uz, un), (vr, vz, vn) = np.split(u, 3, axis=-1), np.split(v, 3, axis=-1)
        r, z = logistic(ur + vr), logistic(uz + vz)
        return (1 - z) * np.tanh(un + r * vn) + z * h, c
    i, f, g, o = np.split(u + v, 4, axis=-1)
    c = logistic(f) * c + logistic(i) * np.tanh(g)
    return logistic(o) * np.tanh(c), c


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_cells_stacked_and_in_two_directions(tmp_path, kind, sides):
    state = cells(kind, sides=sides)
    x = floats(2, 9, 5, seed=50)
    graph, weights = brought(tmp_path, state)
    values = x.astype(np.float64)
    for layer in range(2):
        outputs = []
        for side in ("", "_reverse")[:sides]:
            end = f"_l{layer}{side}"
            h, c, seen = np.zeros((2, 4)), np.zeros((2, 4)), []
            for t in range(9)[:: -1 if side else 1]:
                u = values[:, t] @ state[f"r.weight_ih{end}"].T + state[f"r.bias_ih{end}"]
                h, c = step(kind, u, h @ state[f"r.weight_hh{end}"].T + state[f"r.bias_hh{end}"], h, c)
                seen.append(h)
            outputs.append(np.stack(seen[:: -1 if side else 1], axis=1))
        values = np.concatenate(outputs, axis=-1)
    np.testing.assert_allclose(forward(graph, weights, x), values @ state["s.weight"].T, rtol=0, atol=2e-6)


def refused(tmp_path, state, why):
    save_file(state, tmp_path / "s.safetensors")
    with pytest.raises(PathcError, match=why):
        import_state(tmp_path / "s.safetensors")


def test_what_is_no_chain_is_refused_all_at_once(tmp_path):
    state = mlp() | {"net.2.weight": floats(4, 3, 3, 3), "net.4.gamma": floats(4), "net.5.weight": floats(2, 7)}
    refused(tmp_path, state, r"(?s)`net.2`.*`net.4`.*`net.5` takes 7 values where 6 arrive")


@pytest.mark.parametrize("name", ["r.weight_hr_l0", "r.bias_ih_l7", "r.weight_ih_l2", "r.weight"])
def test_cells_with_parts_that_have_no_place_are_refused(tmp_path, name):
    refused(tmp_path, cells("lstm") | {name: floats(16, 4)}, "E1106: `r` is no")


@pytest.mark.parametrize("name", [n for n in cells("gru", sides=1) if n.startswith("r.weight")])
def test_cells_that_lack_a_part_are_refused(tmp_path, name):
    state = cells("gru", sides=1)
    del state[name]
    refused(tmp_path, state, "E1106: `r` is no")


def test_the_inner_bias_of_a_gru_is_refused(tmp_path):
    state = cells("gru")
    state["r.bias_hh_l1"][-1] = 0.5
    refused(tmp_path, state, "E1106: `r.bias_hh_l1` adds")


@pytest.mark.parametrize(
    "state",
    [
        {"n.running_mean": floats(3), "n.running_var": np.ones(3, np.float32)},
        {"w": np.zeros((0, 4), np.float32)},
        {"a.weight": floats(3, 2), "a.bias": floats(4)},
        {"a.weight": np.array(3.0, np.float32)},
    ],
)
def test_odd_dictionaries_are_refused(tmp_path, state):
    refused(tmp_path, state, "E1106")


def test_the_command_says_what_it_assumed_and_writes_what_runs(tmp_path, capsys):
    save_file(mlp(), tmp_path / "s.safetensors")
    net = tmp_path / "net.pir"
    assert main(["import", str(tmp_path / "s.safetensors"), "-o", str(net), "--activation", "tanh"]) == 0
    assert "`tanh` between linear layers" in capsys.readouterr().err
    np.save(tmp_path / "x.npy", floats(4, 5))
    arguments = [
        "run",
        str(net),
        "--input",
        str(tmp_path / "x.npy"),
        "--weights",
        str(net.with_suffix(".safetensors")),
        "--against",
        "reference",
        "--json",
    ]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)


def test_a_damaged_file_leaves_nothing_behind(tmp_path, capsys):
    (tmp_path / "s.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    assert main(["import", str(tmp_path / "s.safetensors"), "-o", str(tmp_path / "net.pir")]) == 1
    assert "error[E05" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["s.safetensors"]


def test_an_output_is_never_the_model_itself(tmp_path, capsys):
    save_file(mlp(), tmp_path / "s.safetensors")
    before = (tmp_path / "s.safetensors").read_bytes()
    assert main(["import", str(tmp_path / "s.safetensors"), "-o", str(tmp_path / "s.pir")]) == 1
    assert "E1107" in capsys.readouterr().err
    assert (tmp_path / "s.safetensors").read_bytes() == before
