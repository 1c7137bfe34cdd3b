"""The layer under autograd: gradients, views, several passes alive, optimizers, threads, errors."""

from __future__ import annotations

import copy
import threading

import numpy as np
import pytest
from torch_support import by_interpreter, close, pair, rows, torch

from pathc.torch import PathLinear

gradcheck = torch.autograd.gradcheck
UNCHECKED = pytest.mark.filterwarnings("ignore:Input .* requires gradient and is not a double:UserWarning")


def layer(**options):
    options = {"activation": "tanh", **options}
    return PathLinear(20, 12, 64, generator="random(seed = 5)", **options)


@UNCHECKED
@pytest.mark.parametrize("batch", [1, 3])
def test_gradcheck_of_the_kernels(batch):
    module = layer()
    x = rows(module, batch).requires_grad_()

    def run(x, weight, bias):
        return torch.func.functional_call(module, {"weight": weight, "bias": bias}, (x,))

    assert gradcheck(run, (x, module.weight, module.bias), eps=1e-2, atol=2e-3, rtol=1e-3)


@UNCHECKED
def test_gradcheck_notices_a_wrong_gradient():
    module = layer()

    def run(weight):
        y = torch.func.functional_call(module, {"weight": weight}, (torch.ones(2, 20),))
        return y + (weight - weight.detach()).sum() * 0.02

    wrong = module.weight.detach().clone().requires_grad_()

    def off(weight):
        return run(weight).detach() + 1.01 * (run(weight) - run(weight).detach())

    assert gradcheck(run, (wrong,), eps=1e-2, atol=2e-3, rtol=1e-3, raise_exception=False) is False
    assert gradcheck(off, (wrong,), eps=1e-2, atol=1e-5, rtol=1e-3, raise_exception=False) is False


@pytest.mark.parametrize("generator", ["sobol", "sobol(scramble = owen, seed = 3)", "random(seed = 1)"])
@pytest.mark.parametrize("activation", [None, "relu", "leaky(0.1)", "softmax"])
@pytest.mark.parametrize("sizes", [(64, 32, 256), (1, 1, 3), (30, 7, 41)])
def test_equals_the_interpreter(sizes, activation, generator):
    module = PathLinear(*sizes, generator=generator, activation=activation, sign="random")
    x = rows(module, 9).requires_grad_()
    y = module(x)
    dy = torch.linspace(-1, 1, y.numel()).reshape(y.shape)
    y.backward(dy)
    right, right_dx, gradients, _ = by_interpreter(module, x, dy)
    close(y, right)
    close(x.grad, right_dx)
    close(module.weight.grad, gradients["main.1"])
    close(module.bias.grad, gradients["y.bias"])


VIEWS = {
    "transposed": lambda x: x.t().contiguous().t(),
    "every second row": lambda x: x.repeat_interleave(2, dim=0)[::2],
    "columns of a wider array": lambda x: torch.cat([x, x], dim=1)[:, : x.shape[1]],
    "expanded": lambda x: x[:1].expand(x.shape),
    "flipped": lambda x: x.flip(0),
    "negated view": lambda x: torch.complex(x, -x).conj().imag,
    "in three dimensions": lambda x: x.reshape(2, 3, -1),
    "one sample": lambda x: x[0],
    "no samples": lambda x: x[:0],
    "no samples in three dimensions": lambda x: x[:0].reshape(4, 0, x.shape[1]),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_views(view):
    results = []
    for module in pair(layer):
        x = rows(module, 6).requires_grad_()
        y = module(view(x))
        (y * torch.arange(12.0)).sum().backward()
        results.append((y, x.grad, module.weight.grad, module.bias.grad))
    for actual, expected in zip(*results, strict=True):
        assert actual.shape == expected.shape
        close(actual, expected)


def test_gradient_of_a_view():
    first, second = pair(layer)
    for spread in (lambda y: y.t()[::2].sum(), lambda y: y[:, 3:4].expand(-1, 5).sum(), lambda y: y.sum()):
        for module in (first, second):
            module.zero_grad()
            spread(module(rows(module, 6))).backward()
        close(first.weight.grad, second.weight.grad)


@pytest.mark.parametrize("wanted", [(), ("x",), ("weight",), ("bias",), ("x", "bias"), ("x", "weight")])
def test_only_what_is_asked_for(wanted):
    results = []
    for module in pair(layer):
        x = rows(module, 4).requires_grad_("x" in wanted)
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in wanted)
        y = module(x)
        assert y.requires_grad == bool(wanted)
        if wanted:
            y.square().sum().backward()
        found = {"x": x.grad, "weight": module.weight.grad, "bias": module.bias.grad}
        assert {name for name, gradient in found.items() if gradient is not None} == set(wanted)
        results.append(found)
    for name in wanted:
        close(results[0][name], results[1][name])


def test_several_passes_alive_in_any_order():
    results = []
    for module in pair(layer):
        parts = [rows(module, n, seed=n).requires_grad_() for n in (3, 70, 3, 20)]
        losses = [module(part).square().sum() for part in parts]
        for k in (2, 0, 3, 1):
            losses[k].backward()
        results.append([module.weight.grad, *(part.grad for part in parts)])
    for actual, expected in zip(*results, strict=True):
        close(actual, expected)


def test_used_twice_in_one_graph():
    results = []
    for module in pair(lambda compiled: PathLinear(16, 16, 64, activation="tanh", compiled=compiled)):
        x = rows(module, 5).requires_grad_()
        module(module(x) + x).sum().backward()
        results.append((module.weight.grad, x.grad))
    for actual, expected in zip(*results, strict=True):
        close(actual, expected)


def test_the_graph_can_be_kept_and_gradients_accumulate():
    module = layer()
    y = module(rows(module, 5)).sum()
    y.backward(retain_graph=True)
    once = module.weight.grad.clone()
    y.backward()
    close(module.weight.grad, 2 * once)
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_second_derivatives_are_refused_clearly():
    module = layer()
    x = rows(module, 2).requires_grad_()
    with pytest.raises(RuntimeError, match=r"second derivatives.*compiled=False"):
        torch.autograd.grad(module(x).sum(), x, create_graph=True)
    plain = layer(compiled=False)
    (gradient,) = torch.autograd.grad(plain(x).sum(), x, create_graph=True)
    gradient.sum().backward()


def test_weights_changed_before_backward_are_noticed():
    module = layer()
    y = module(rows(module, 2)).sum()
    with torch.no_grad():
        module.weight.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


WRITES = {
    "in place": lambda w: w.add_(0.5),
    "data": lambda w: w.data.add_(0.5),
    "numpy": lambda w: np.add(w.detach().numpy(), 0.5, out=w.detach().numpy()),
    "one element": lambda w: w.detach()[3].fill_(7.0),
    "other memory": lambda w: w.set_(torch.arange(64.0)),
    "sign of zero": lambda w: w.zero_().neg_(),
    "nan": lambda w: w.detach()[0].fill_(float("nan")),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_every_way_of_changing_weights_is_noticed(write):
    first, second = pair(layer)
    x = rows(first, 4)
    first(x)
    with torch.no_grad():
        write(first.weight)
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(first(x), second(x), rtol=1e-4, atol=1e-5, equal_nan=True)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, eps=1e-3),
    "fused": lambda p: torch.optim.AdamW(p, lr=0.01, eps=1e-3, fused=True),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_training_equals_plain_operations(optimizer):
    first = torch.nn.Sequential(PathLinear(16, 32, 128, activation="relu"), PathLinear(32, 4, 128, dims=(1, 2)))
    second = copy.deepcopy(first)
    for module in second:
        module.compiled = False
    x = torch.randn(40, 16, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(40) % 4
    losses = []
    for net in (first, second):
        steps = optimizer(net.parameters())
        history = []
        for start in range(0, 200, 25):
            loss = torch.nn.functional.cross_entropy(net(x[start % 40 :]), labels[start % 40 :])
            steps.zero_grad()
            loss.backward()
            steps.step()
            history.append(float(loss.detach()))
        losses.append(history)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    assert losses[0][-1] < losses[0][0]
    for actual, expected in zip(first.parameters(), second.parameters(), strict=True):
        close(actual, expected)


def test_threads_share_a_module():
    module = layer()
    parts = [rows(module, 30 + k, seed=k) for k in range(8)]
    alone = [(module(p), torch.autograd.grad(module(p).sum(), module.weight)[0]) for p in parts]
    found: dict[int, tuple] = {}

    def work(k: int) -> None:
        for _ in range(10):
            y = module(parts[k])
            found[k] = y, torch.autograd.grad(y.sum(), module.weight)[0]

    workers = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for k, (y, gradient) in enumerate(alone):
        assert torch.equal(found[k][0], y)
        assert torch.equal(found[k][1], gradient)


def test_no_gradient_is_recorded_where_none_is_wanted():
    module = layer()
    x = rows(module, 3)
    y = module(x)
    with torch.no_grad():
        assert torch.equal(module(x), y)
        assert not module(x).requires_grad
    with torch.inference_mode():
        assert torch.equal(module(x), y)
    assert torch.equal(module.eval()(x), y)


def test_states_and_copies():
    module = layer()
    assert list(module.state_dict()) == ["weight", "bias"]
    assert list(layer(bias=False).state_dict()) == ["weight"]
    other = layer()
    other.load_state_dict({name: tensor + 0.25 for name, tensor in module.state_dict().items()})
    twin = copy.deepcopy(other)
    x = rows(module, 2)
    assert torch.equal(twin(x), other(x))
    twin.reset_parameters()
    assert torch.equal(twin(x), module(x))
    assert "paths=64" in repr(module)


def test_initial_signs_follow_the_seed():
    a, b, c = (PathLinear(16, 16, 64, sign="random", seed=seed).weight for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert a.abs().unique().numel() == 1


@pytest.mark.parametrize(
    ("kind", "text", "arguments"),
    [
        (ValueError, "did you mean `sobol`", {"generator": "sobl"}),
        (ValueError, "no stage `rel`", {"activation": "rel"}),
        (ValueError, "E0379", {"activation": "batchnorm"}),
        (ValueError, "sign", {"sign": "plus"}),
        (ValueError, "paths cannot be 0", {"paths": 0}),
        (ValueError, r"dims\[1\] cannot be -1", {"dims": (0, -1)}),
        (ValueError, "dims has 3", {"dims": (0, 1, 2)}),
        (TypeError, "in_features is 2.0", {"in_features": 2.0}),
        (TypeError, "paths is True", {"paths": True}),
        (TypeError, "generator is a int", {"generator": 3}),
        (ValueError, "0 threads", {"threads": 0}),
        (ValueError, "E0", {"paths": 1 << 50}),
        (ValueError, "E0502", {"paths": 1 << 39}),
    ],
)
def test_arguments_that_describe_no_layer(kind, text, arguments):
    with pytest.raises(kind, match=text):
        PathLinear(**{"in_features": 8, "out_features": 8, "paths": 8, **arguments})


@pytest.mark.parametrize(
    ("kind", "text", "x"),
    [
        (ValueError, r"E0512: the input has shape \[3, 19\], the model needs \[\.\.\., 20\]", torch.zeros(3, 19)),
        (ValueError, "E0512", torch.tensor(1.0)),
        (TypeError, "E0513.*int64", torch.zeros(3, 20, dtype=torch.int64)),
        (TypeError, "complex", torch.zeros(3, 20, dtype=torch.complex64)),
        (TypeError, "ndarray", np.zeros((3, 20), np.float32)),
    ],
)
def test_inputs_that_do_not_fit(kind, text, x):
    with pytest.raises(kind, match=text):
        layer()(x)


def test_a_weight_of_another_shape_is_refused():
    module = layer()
    module.weight = torch.nn.Parameter(torch.zeros(63))
    with pytest.raises(ValueError, match=r"E0507.*main.1.*\[63\].*\[64\]"):
        module(torch.zeros(1, 20))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_torch_compile_breaks_the_graph_and_no_more():
    module = torch.nn.Sequential(layer(), torch.nn.Linear(12, 3))
    x = rows(module[0], 4).requires_grad_()
    expected = torch.autograd.grad(module(x).sum(), (x, module[0].weight))
    compiled = torch.compile(module, backend="eager")
    for actual, right in zip(torch.autograd.grad(compiled(x).sum(), (x, module[0].weight)), expected, strict=True):
        close(actual, right)
