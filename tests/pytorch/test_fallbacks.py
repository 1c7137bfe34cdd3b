"""Other types and devices: the same numbers through PyTorch's operations, and a note that says so."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from torch_support import TEXTS, close, drawn, graph, rows, torch

from pathc.ir import interp
from pathc.torch import FallbackWarning, PathLinear, PathModule


@pytest.mark.filterwarnings("ignore::pathc.torch.FallbackWarning")
@pytest.mark.parametrize("name", ["two", "tied"])
def test_gradcheck_in_float64(name):
    net = graph(name)
    module = PathModule(net, drawn(net)).double()
    names = [n for n, _ in module.named_parameters()]

    def run(x, *tensors):
        return torch.func.functional_call(module, dict(zip(names, tensors, strict=True)), (x,))

    x = rows(module, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *module.parameters()))


@pytest.mark.parametrize("name", TEXTS)
def test_float64_equals_the_interpreter(name):
    net = graph(name)
    weights = drawn(net)
    module = PathModule(net, weights).double()
    x = rows(module, 7).double()
    with pytest.warns(FallbackWarning, match=r"torch.float64 on cpu.*20 times"):
        y = module(x)
    assert y.dtype == torch.float64
    np.testing.assert_allclose(y.detach(), interp.forward(net, weights, x.numpy()), rtol=1e-12, atol=1e-14)


def test_the_note_comes_once():
    module = PathLinear(8, 8, 16).double()
    with pytest.warns(FallbackWarning):
        module(torch.zeros(2, 8).double())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module(torch.zeros(3, 8).double())
    with pytest.warns(FallbackWarning, match="bfloat16"):
        module.bfloat16()(torch.zeros(2, 8).bfloat16())


def test_the_note_points_at_the_caller():
    module = PathLinear(8, 8, 16).double()
    with pytest.warns(FallbackWarning) as noted:
        module(torch.zeros(2, 8).double())
    assert noted[0].filename == __file__


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_types_are_computed_in_float32(kind):
    module = PathLinear(64, 32, 4096, activation="tanh").to(kind)
    x = rows(module, 9).to(kind).requires_grad_()
    with pytest.warns(FallbackWarning, match="computed in float32"):
        y = module(x)
    y.sum().backward()
    assert (y.dtype, x.grad.dtype, module.weight.grad.dtype) == (kind, kind, kind)
    exact = PathLinear(64, 32, 4096, activation="tanh", compiled=False)
    exact.load_state_dict(module.state_dict())
    right = x.detach().float().requires_grad_()
    expected = exact(right)
    expected.sum().backward()
    torch.testing.assert_close(y.float(), expected, rtol=2 * torch.finfo(kind).eps, atol=torch.finfo(kind).eps)
    torch.testing.assert_close(x.grad.float(), right.grad, rtol=0.02, atol=0.02)


def test_mixed_types_are_promoted():
    module = PathLinear(8, 4, 16)
    x = rows(module, 3)
    y = module(x)
    half = module(x.bfloat16())
    assert half.dtype == torch.float32
    close(half, module(x.bfloat16().float()))
    with pytest.warns(FallbackWarning):
        double = module(x.double())
    assert double.dtype == torch.float64
    close(double, y.double())


def test_compiled_false_gives_no_note():
    module = PathLinear(8, 4, 16, compiled=False)
    assert module(torch.zeros(2, 8).double()).dtype == torch.float64


def test_the_device_meta_knows_shapes_alone():
    module = PathLinear(8, 4, 16, device="meta")
    with pytest.warns(FallbackWarning, match="on meta"):
        y = module(torch.zeros(5, 8, device="meta"))
    assert y.is_meta
    assert y.shape == (5, 4)
    with pytest.raises(ValueError, match=r"the input is on cpu, tensor `main[.]1` on meta: move one"):
        module(torch.zeros(5, 8))
    with pytest.raises(ValueError, match="no values to save"):
        module.save_weights("never.npz")
    with pytest.raises(ValueError, match=r"the input is on meta, .* on cpu: move one"):
        PathLinear(8, 4, 16)(torch.zeros(5, 8, device="meta"))


def test_meta_parameters_become_real(tmp_path):
    right = PathLinear(8, 4, 16, sign="random", seed=3)
    right.save_weights(tmp_path / "w.npz")
    module = PathLinear(8, 4, 16, device="meta")
    with pytest.raises(ValueError, match="to_empty"):
        module.load_weights(tmp_path / "w.npz")
    module.to_empty(device="cpu").load_weights(tmp_path / "w.npz")
    x = rows(module, 3)
    assert torch.equal(module(x), right(x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU")
@pytest.mark.parametrize("name", TEXTS)
def test_cuda_gives_the_same_numbers(name):
    net = graph(name)
    module = PathModule(net, drawn(net))
    x = rows(module, 70)
    y = module(x)
    y.square().sum().backward()
    right = {n: p.grad.clone() for n, p in module.named_parameters()}
    module.zero_grad()
    module.cuda()
    with pytest.warns(FallbackWarning, match="float32 on cuda"):
        there = module(x.cuda())
    there.square().sum().backward()
    close(there.cpu(), y)
    for parameter, tensor in module.named_parameters():
        close(tensor.grad.cpu(), right[parameter])
