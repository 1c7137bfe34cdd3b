"""Whole models: numbers of the interpreter, names and files of pathc."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import numpy as np
import pytest
from torch_support import TEXTS, TWO_LAYERS, by_interpreter, close, drawn, graph, pair, rows, torch

import pathc
from pathc.cli import main
from pathc.ir import interp
from pathc.ir.weights import expected_tensors, load_weights, save_weights
from pathc.torch import PathModule


@pytest.mark.parametrize("batch", [1, 5, 17, 64, 150])
@pytest.mark.parametrize("name", TEXTS)
def test_both_ways_equal_the_interpreter(name, batch):
    net = graph(name)
    for module in pair(lambda compiled: PathModule(net, drawn(net), compiled=compiled)):
        x = rows(module, batch).requires_grad_()
        y = module(x)
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(3))
        y.backward(dy)
        right, right_dx, gradients, bound = by_interpreter(module, x, dy)
        assert interp.agrees(y.detach().numpy(), right, bound).all()
        close(x.grad, right_dx)
        assert {n for n, _ in module.named_parameters()} == gradients.keys()
        for parameter, tensor in module.named_parameters():
            close(tensor.grad, gradients[parameter])


def test_the_state_has_the_names_of_weight_files():
    module = PathModule(graph("all"))
    assert {n: tuple(t.shape) for n, t in module.state_dict().items()} == expected_tensors(module.graph)
    assert isinstance(module.training, bool)
    assert module.train().training
    assert not module.eval().training


def test_a_line_may_have_the_name_of_an_attribute():
    module = PathModule(graph("all"))
    assert "eval.1" in module.state_dict()
    assert "train.bias" in dict(module.named_parameters())


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_weights_travel_to_pathc_and_back(tmp_path: Path, suffix: str):
    model, file = tmp_path / "two.path", tmp_path / f"w.{suffix}"
    model.write_text(TWO_LAYERS)
    net = graph("two")
    module = PathModule(model, drawn(net))
    module.save_weights(file, metadata={"seed": "1"})
    x = rows(module, 6)
    np.save(tmp_path / "x.npy", x.numpy())
    arguments = ["run", str(model), "--weights", str(file), "--input", str(tmp_path / "x.npy")]
    assert main([*arguments, "--output", str(tmp_path / "y.npy")]) == 0
    close(module(x), np.load(tmp_path / "y.npy"))
    other = PathModule(model)
    assert not torch.equal(other(x), module(x))
    other.load_weights(file)
    assert torch.equal(other(x), module(x))


def test_a_state_saved_by_safetensors_is_a_weight_file(tmp_path: Path):
    safetensors = pytest.importorskip("safetensors.torch")
    net = graph("two")
    module = PathModule(net, drawn(net))
    safetensors.save_file(module.state_dict(), tmp_path / "w.safetensors")
    assert load_weights(tmp_path / "w.safetensors", net).keys() == module.state_dict().keys()
    x = rows(module, 3)
    close(module(x), pathc.compile(net, weights=tmp_path / "w.safetensors")(x.numpy()))


def test_other_types_in_files_become_those_of_the_parameters(tmp_path: Path):
    net = graph("two")
    module = PathModule(net, drawn(net))
    module.save_weights(tmp_path / "half.safetensors", dtype="bfloat16")
    other = PathModule(net, tmp_path / "half.safetensors")
    expected = module.get_parameter("main.1").bfloat16().float()
    assert torch.equal(other.get_parameter("main.1"), expected)
    module.to(torch.bfloat16).save_weights(tmp_path / "float.safetensors")
    assert load_weights(tmp_path / "float.safetensors")["main.1"].dtype == np.float32


def test_a_file_of_another_model_changes_nothing(tmp_path: Path):
    net = graph("two")
    save_weights(tmp_path / "w.npz", {**drawn(net), "main.2": np.zeros(3, np.float32)})
    module = PathModule(net)
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(pathc.PathcError, match="E0507"):
        module.load_weights(tmp_path / "w.npz")
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


def test_overrides_and_models_from_python():
    text = TWO_LAYERS.replace("model two", "let P = 64\nmodel two").replace("count = 128", "count = P")
    source = pathc.Source("two.path", text)
    assert PathModule(source, overrides={"P": 256}).get_parameter("main.1").shape == (256,)
    built = pathc.Model("built")
    built.paths("main", [built.input("x", 8), built.output("y", 4)], count=16)
    assert PathModule(built)(torch.ones(8)).shape == (4,)


def test_what_the_compiler_refuses():
    with pytest.raises(pathc.PathcError, match="E0501"):
        PathModule("nowhere.path")
    convolution = TWO_LAYERS.replace("layer h[16] : bias | tanh", "layer h[16] : prernn")
    with pytest.raises(pathc.PathcError):
        PathModule(pathc.Source("two.path", convolution))


def test_a_whole_module_can_be_pickled_and_copied():
    net = graph("two")
    module = PathModule(net, drawn(net))
    x = rows(module, 4)
    y = module(x)
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    again = torch.load(buffer, weights_only=False)
    twin = copy.deepcopy(module)
    assert torch.equal(again(x), y)
    assert torch.equal(twin(x), y)
    with torch.no_grad():
        twin.get_parameter("main.1").zero_()
    assert not torch.equal(twin(x), y)
    assert torch.equal(module(x), y)


def test_an_input_station_after_another():
    module = PathModule(graph("all"))
    with pytest.raises(ValueError, match=r"E0512.*\[3, 12\].*\[\.\.\., 19\]"):
        module(torch.zeros(3, 12))
