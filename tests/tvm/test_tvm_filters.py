"""Nets with extents on TVM's processor target against the interpreter: random nets, special values, files."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from extents_support import ACROSS, SOUND, SUMS, case, checked
from filter_nets import inputs_of, net, texts, weights_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pathc.backends.base import Request
from pathc.backends.tvm import cpu, facade
from pathc.backends.tvm.cpu import BACKEND
from pathc.backends.tvm.filters.lower import plan_filters
from pathc.backends.tvm.filters.plan import Blocks, Lists, reads
from pathc.backends.tvm.library import Library
from pathc.cli import main
from pathc.driver import Options, compile_model
from pathc.support.diagnostics import PathcError
from pathc.support.source import Source

pytestmark = pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}")


def compiled(graph, weights, **request):
    return BACKEND.compile(Request(graph, weights, **request))


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts(), st.integers(1, 5))
def test_random_nets_equal_the_interpreter(text, batch):
    graph, weights, x = case(text, batch)
    checked(graph, weights, x, compiled(graph, weights)(x))


@pytest.mark.parametrize("text", [SUMS, ACROSS, SOUND])
def test_every_operation(text):
    graph, weights, x = case(text, 3)
    checked(graph, weights, x, compiled(graph, weights)(x))


def test_one_sample_none_and_more_than_the_cache_has_room_for(monkeypatch):
    monkeypatch.setattr(cpu, "_WORKING_SET", 4096)
    graph, weights, x = case("input x[4, 6x6]\nlayer h[4] : conv(3x3)\noutput y[4] : relu\ndense p : x -> h -> y", 70)
    net_ = compiled(graph, weights)
    checked(graph, weights, x, net_(x))
    y = net_(x[0])
    checked(graph, weights, x[:1], y[None])
    np.testing.assert_array_equal(net_(x[:1])[0], y)
    assert net_(x[:0]).shape == (0, 4)


def plan(text, result="y"):
    graph, weights, _ = case(text)
    return plan_filters(graph, weights, [result], "y")


CHANNELS = "input x[16, 6x6]\noutput y[16] : conv(3x3)\n"


@pytest.mark.parametrize(
    ("line", "sizes"),
    [
        ("paths p : x -> y { count = 64 }", [(4, 4, 4)]),
        ("dense p : x -> y", [(1, 16, 16)]),
        ("paths p : x -> y { count = 64, sequence = expander }", [(16, 1, 4)]),
        ("paths p : x -> y { count = 64, sequence = random }", []),
    ],
    ids=["sobol", "dense", "expander", "random"],
)
def test_channels_that_hear_the_same_are_blocks(line, sizes):
    """Blocks, targets and sources of the blocks that each kind of line gives."""
    ops = plan(CHANNELS + line).ops
    blocks = [(*op.targets.shape, op.sources.shape[1]) for op in ops if isinstance(op, Blocks)]
    assert blocks == sizes
    assert sum(op.targets.size for op in ops) == 16
    if not sizes:
        assert [type(op) for op in ops] == [Lists]


def test_normalization_is_folded_and_filters_of_one_tap_run_over_rows():
    (op,) = plan("input x[4, 6x6]\noutput y[4] : conv(1x1) | bias | batchnorm | relu\ndense p : x -> y").ops
    assert isinstance(op, Blocks)
    assert [getattr(function, "scale", None) for function in op.end.functions] == [None, None]
    assert (op.src.rows, op.src.columns) == (1, 36)


def test_buffers_are_shared_and_never_read_where_they_are_written():
    found = plan(SUMS)
    assert len(found.arrays) < len({op.dst.array for op in found.ops}) + 3
    names = [f"h{k}" for k in range(9)]
    layers = "".join(f"layer {name}[4] : conv(3x3, pad = same)\n" for name in names)
    deep = plan(f"input x[4, 6x6]\n{layers}output y[4] : conv(1x1)\ndense p : x -> {' -> '.join(names)} -> y")
    assert len(deep.arrays) == 2
    for op in (*found.ops, *deep.ops, *plan(ACROSS, "d").ops):
        assert op.dst.array not in {planes.array for planes in reads(op)}


def test_an_output_that_another_one_reads():
    text = "input x[4, 5x5]\noutput y[4] : conv(1x1) | relu\noutput z[4] : conv(3x3, pad = same)\ndense p : x -> y -> z"
    graph, weights, x = case(text)
    checked(graph, weights, x, compiled(graph, weights)(x))


def test_several_inputs_and_flat_layers_that_read_them():
    graph = net("""
input a[2, 3x3] : bias
input b[5]
input c[2, 3x3]
layer h[4] : conv(2x2) | relu
output y[3]
output t[5] : relu
dense p : a -> h -> y
dense q : b -> y
dense r : c -> y
skip s : b -> t
""")
    weights = {name: w.astype(np.float32) for name, w in weights_of(graph).items()}
    x = np.random.default_rng(0).normal(size=(3, 18 + 5 + 18)).astype(np.float32)
    checked(graph, weights, x, compiled(graph, weights)(x))


def test_values_that_are_hardly_numbers():
    """What no edge leads to is not read, windows pass NaN on, and zeros around planes meet no infinity."""
    graph, weights, x = case("""
input x[8, 7x7]
layer a[8] : conv(3x3, pad = same) | bias | relu
layer b[8] : conv(3x3, stride = 2, pad = 1) | maxpool(2x2, stride = 1)
output y[8] : conv(1x1) | avgpool(2x2)
paths p : x -> a { count = 16 }
paths q : a -> b { count = 20, sequence = random }
paths r : b -> y { count = 12 }
""", 6)  # fmt: skip
    net_ = compiled(graph, weights)
    for n, special in enumerate([np.nan, np.inf, -np.inf, -0.0, 3e38]):
        x[n, 3, 4, 4] = special
    with np.errstate(all="ignore"):
        checked(graph, weights, x, net_(x))


def test_flat_nets_with_what_else_belongs_to_extents():
    graph, weights, x = case("""
input x[8] : bias
layer a[8] : tanh | ode(solver = euler, step = 0.5, steps = 2)
layer b[16] : bias | batchnorm(eps = 0.1) | relu
output y[4] : bias
dense p : x -> a
paths q : a -> b -> y { count = 64, scale = 0.5 }
""", 70)  # fmt: skip
    net_ = compiled(graph, weights)
    checked(graph, weights, x, net_(x))
    with pytest.raises(PathcError, match=r"E0379.*a backward pass"):
        net_.gradients(x, np.zeros((70, 4), np.float32))


def test_what_has_no_kernels():
    graph, weights, x = case(CHANNELS + "dense p : x -> y")
    with pytest.raises(PathcError, match="E0806"):
        compiled(graph, weights, forms={"*": "csr"})
    with pytest.raises(PathcError, match="E0379"):
        compiled(graph, weights).gradients(x, np.zeros((2, 16, 4, 4), np.float32))
    with pytest.raises(PathcError, match="E0512"):
        compiled(graph, weights)(x[:, :3])
    back = net("input x[4]\nlayer h[4, 4x4] : relu\noutput y[2]\ndense p : x -> h -> y")
    assert [d.code for d in BACKEND.refusals(back)] == ["E0379"]
    across = net("input x[4, 4x4]\nlayer h[4] : conv(1x1) | kwinners(2)\noutput y[2]\ndense p : x -> h -> y")
    assert BACKEND.refusals(across) == []


@pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="a library is linked by a C compiler")
def test_a_library_and_stages_from_the_command_line(tmp_path, capsys):
    model, x = tmp_path / "net.path", tmp_path / "x.npy"
    text = "input x[4, 8x7]\nlayer h[8] : conv(3x3) | maxpool(2x2)\noutput y[6] : relu\ndense p : x -> h -> y"
    model.write_text(f"pathc 1\nmodel net\n{text}\n")
    graph = net(text)
    np.save(x, inputs_of(graph, 5).astype(np.float32))
    assert main(["run", str(model), "-t", "tvm-llvm", "--input", str(x), "--against", "reference"]) == 0
    assert main(["compile", str(model), "-t", "tvm-llvm", "-o", str(tmp_path / "net.so")]) == 0
    assert main(["run", str(model), "-t", "reference", "--input", str(x), "-o", str(tmp_path / "y.npy")]) == 0
    made = Library(tmp_path / "net.so")(np.load(x).reshape(5, -1))
    np.testing.assert_allclose(made, np.load(tmp_path / "y.npy"), rtol=1e-4, atol=1e-6)
    for kind, words in (("plan", "filters %x+0[4, 8x7]"), ("schedule", "sch.vectorize")):
        capsys.readouterr()
        assert main(["dump", str(model), "-t", "tvm-llvm", "--emit", kind, "--batch", "4"]) == 0
        assert words in capsys.readouterr().out
    assert main(["bench", str(model), "-t", "tvm-llvm", "--seconds", "0.01", "--batch", "2"]) == 0


def test_tuning_leaves_filters_as_they_are():
    graph, weights, x = case(CHANNELS + "dense p : x -> y")
    checked(graph, weights, x, compiled(graph, weights, options={"tune": True})(x))


@pytest.mark.parametrize("target", ["tvm-llvm", "cuda"])
def test_extents_and_cells_in_one_net_are_refused(target):
    text = """pathc 1
model net
input  x[3, 6x6]
layer  c[8] : conv(3x3, pad = same) | relu | avgpool(global)
output y[4] : bias | gru(recur = band(3))
paths main : x -> c -> y { count = 32 }
"""
    with pytest.raises(PathcError, match=r"E0379.*a net with cells"):
        compile_model(Source("net.path", text), target, None, Options())
