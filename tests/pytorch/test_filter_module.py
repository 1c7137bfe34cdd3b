"""Nets with extents as PyTorch modules: values and gradients of the interpreter, statistics, weight files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pathc.torch needs PyTorch")
sys.path.insert(0, str(Path(__file__).parents[1] / "filters"))

from filter_nets import inputs_of, net, texts, weights_of  # noqa: E402
from hypothesis import HealthCheck, assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from test_filter_meaning import EQUATION, RESIDUAL, SHORTCUT  # noqa: E402
from test_filter_training import DIGITS  # noqa: E402

import pathc  # noqa: E402
from pathc.ir.interp import backward, evaluate  # noqa: E402
from pathc.support.diagnostics import PathcError  # noqa: E402
from pathc.torch import FilterModule, PathModule  # noqa: E402
from pathc.torch.filters import FilterNet  # noqa: E402

EXAMPLES = Path(__file__).parents[2] / "examples"


def assert_same(graph, training: bool) -> None:
    weights, x = weights_of(graph), inputs_of(graph, 3)
    stored = ("norm.mean", "norm.variance")
    tensors = {n: torch.tensor(w, requires_grad=not n.endswith(stored)) for n, w in weights.items()}
    given_x = torch.tensor(x, requires_grad=True)
    y = FilterNet(graph)(given_x, tensors, training=training)
    expected = evaluate(graph, weights, x, training=training).outputs
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-9, atol=1e-9)
    at = np.random.default_rng(4).normal(size=expected.shape)
    (y * torch.tensor(at)).sum().backward()
    at_x, at_weights = backward(graph, weights, x, at, training=training)
    size = max(1.0, float(np.abs(at_x).max()))
    np.testing.assert_allclose(given_x.grad.numpy(), at_x, rtol=1e-6, atol=1e-8 * size)
    for name, gradient in at_weights.items():
        size = max(1.0, float(np.abs(gradient).max()))
        np.testing.assert_allclose(tensors[name].grad.numpy(), gradient, rtol=1e-6, atol=1e-8 * size)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(texts(), st.booleans())
def test_random_nets(text, training) -> None:
    assert_same(net(text), training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("text", [EQUATION, RESIDUAL, SHORTCUT])
def test_equations_and_residuals(text, training) -> None:
    assert_same(net(text), training)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(texts(), st.booleans(), st.integers(3, 40))
def test_kernels_do_what_the_operations_do(text, training, count) -> None:
    assume("softmax" not in text and "kwinners" not in text)
    graph = net(text)
    weights = {name: (w / max(1.0, np.sqrt(w[0].size))).astype(np.float32) for name, w in weights_of(graph).items()}
    x = torch.tensor(inputs_of(graph, count), dtype=torch.float32)
    found = []
    for compiled in (True, False):
        model = FilterModule(graph, weights, compiled=compiled).train(training)
        own = x.clone().requires_grad_()
        y = model(own)
        (y * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum().backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        found.append((y.detach(), own.grad, gradients, dict(model.named_buffers())))
    assert all(grad is not None for grad in found[0][2].values())
    size = max(float(grad.abs().max()) for grad in found[1][2].values())
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-3 * max(1.0, size))
    for name, grad in found[1][2].items():
        torch.testing.assert_close(found[0][2][name], grad, rtol=1e-3, atol=1e-4 * size)
    for name, values in found[1][3].items():
        torch.testing.assert_close(found[0][3][name], values, rtol=1e-4, atol=1e-5)


def test_kernels_with_a_batch_of_none_and_without_gradients() -> None:
    model = FilterModule(pathc.Source("digits.path", "pathc 1\n" + DIGITS)).eval()
    assert model(torch.zeros(0, 1, 8, 8)).shape == (0, 10)
    x = torch.rand(70, 1, 8, 8)
    with torch.no_grad():
        said = model(x)
    wide = FilterModule(pathc.Source("digits.path", "pathc 1\n" + DIGITS)).double().eval()
    torch.testing.assert_close(wide(x.double()).float(), said, rtol=1e-4, atol=1e-6)
    before = {name: values.clone() for name, values in model.named_buffers()}
    model(x)
    assert all(torch.equal(values, before[name]) for name, values in model.named_buffers())
    model.train()(x)
    assert not any(torch.equal(values, before[name]) for name, values in model.named_buffers())


def test_it_learns_and_its_weights_compile(tmp_path) -> None:
    torch.manual_seed(0)
    source = pathc.Source("digits.path", "pathc 1\n" + DIGITS)
    model = FilterModule(source)
    assert {n for n, _ in model.named_buffers()} == {f"{s}.norm.{n}" for s in "ab" for n in ("mean", "variance")}
    data = np.load(EXAMPLES / "digits.npz")
    x, y = torch.tensor(data["x_train"] / 16).float().reshape(-1, 1, 8, 8), torch.tensor(data["y_train"]).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(4):
        for part in torch.randperm(len(x)).split(64):
            loss = torch.nn.functional.nll_loss(torch.log(model(x[part])), y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    test = torch.tensor(data["x_test"] / 16).float().reshape(-1, 1, 8, 8)
    with torch.no_grad():
        said = model(test)
    assert (said.argmax(1).numpy() == data["y_test"]).mean() > 0.95
    model.save_weights(tmp_path / "w.safetensors")
    compiled = pathc.compile(source, weights=tmp_path / "w.safetensors")
    np.testing.assert_allclose(compiled(test.numpy()), said.numpy(), rtol=1e-3, atol=1e-5)
    again = FilterModule(source, tmp_path / "w.safetensors").eval()
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(again(test), said)


def test_what_is_refused() -> None:
    source = pathc.Source("digits.path", "pathc 1\n" + DIGITS)
    with pytest.raises(PathcError, match="E0379"):
        PathModule(source)
    with pytest.raises(ValueError, match="E0512"):
        FilterModule(source)(torch.zeros(2, 64))
    cell = "pathc 1\ninput x[4]\noutput y[4] : gru(recur = diag)\ndense p : x -> y"
    with pytest.raises(PathcError, match="E0376"):
        FilterModule(pathc.Source("cell.path", cell))
