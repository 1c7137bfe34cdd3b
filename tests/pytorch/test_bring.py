"""Trained PyTorch modules as graphs, through the exporter and through their state dictionaries."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from torch_support import torch

from pathc.exchange.states import import_state
from pathc.ir.interp import forward
from pathc.support.diagnostics import PathcError
from pathc.torch import from_module


class Labels(torch.nn.Module):
    """A tagger: two layers of a cell in both directions and a linear layer on every step."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell(5, 6, 2, batch_first=True, bidirectional=True)
        self.out = torch.nn.Linear(12, 3)

    def forward(self, x):
        return self.out(self.cell(x)[0])


def mlp():
    torch.manual_seed(1)
    norm = torch.nn.BatchNorm1d(8)
    parts = torch.nn.Linear(5, 8), norm, torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3)
    module = torch.nn.Sequential(*parts)
    for _ in range(5):
        module(torch.randn(32, 5))
    return module.eval()


def same(graph, weights, module, x):
    expected = module(x).detach().numpy()
    np.testing.assert_allclose(forward(graph, weights, x.numpy()), expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("made", [mlp, lambda: Labels(torch.nn.LSTM), lambda: Labels(torch.nn.RNN)])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_state_dictionaries_come_in_as_they_compute(tmp_path, made, suffix):
    module = made()
    x = torch.randn(4, 5) if isinstance(module, torch.nn.Sequential) else torch.randn(4, 7, 5)
    path = tmp_path / f"state.{suffix}"
    if suffix == "pt":
        torch.save({"state_dict": module.state_dict(), "epoch": 3}, path)
    else:
        pytest.importorskip("safetensors.torch").save_file(module.state_dict(), path)
    same(*import_state(path), module, x)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04" + bytes(40)])
def test_files_that_are_no_state_are_refused(tmp_path, content):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(PathcError, match="E1106"):
        import_state(tmp_path / "state.pt")


class Hostile:
    def __reduce__(self):
        return (importlib.import_module, ("antigravity",))


def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    torch.save({"w": Hostile()}, tmp_path / "state.pt")
    monkeypatch.setattr(importlib, "import_module", importlib.import_module)
    with pytest.raises(PathcError, match="E1106"):
        import_state(tmp_path / "state.pt")
    assert "antigravity" not in importlib.sys.modules


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("made", [mlp, lambda: Labels(torch.nn.LSTM)])
def test_modules_come_in_through_the_exporter(made):
    pytest.importorskip("onnxscript", reason="PyTorch exports through the package onnxscript")
    module = made()
    x = torch.randn(4, 5) if isinstance(module, torch.nn.Sequential) else torch.randn(4, 7, 5)
    module.train()
    graph, weights = from_module(module, x)
    assert module.training
    same(graph, weights, module.eval(), x)


@pytest.mark.filterwarnings("ignore")
def test_modules_without_counterpart_are_refused():
    pytest.importorskip("onnxscript", reason="PyTorch exports through the package onnxscript")
    with pytest.raises(PathcError, match="E1102"):
        from_module(torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.LayerNorm(8)), torch.randn(2, 5))
