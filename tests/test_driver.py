"""The public functions, the driver behind them, and the reference as a target."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import pathc
from pathc.agreement import compare
from pathc.backends.base import Request
from pathc.backends.reference import BACKEND
from pathc.driver import Options, compile_model, is_graph_text, load, weights_of
from pathc.ir.init import initial_weights
from pathc.ir.text import print_graph
from pathc.ir.types import Word
from pathc.support.diagnostics import PathcError
from pathc.support.source import Source
from pathc.targets import choose_target, parse_target

TEXT = """pathc 1
let P = 128
model net
input  x[32]
layer  h[16] : relu
output y[8]
paths main : x@0 -> h@1 -> y@3 { count = P }
target slow : reference
target fast : llvm { cpu = native, threads = 1 }
"""
SOURCE = pathc.Source("net.path", TEXT)


def test_a_model_is_a_file_a_text_a_graph_or_built(tmp_path: Path) -> None:
    (tmp_path / "net.path").write_text(TEXT)
    graph = pathc.load(SOURCE)
    assert pathc.load(tmp_path / "net.path") == graph
    assert pathc.load(str(tmp_path / "net.path")) == graph
    assert pathc.load(graph) is graph
    model = pathc.Model("net")
    x, h, y = model.input("x", 32), model.layer("h", 16).relu(), model.output("y", 8)
    model.paths("main", [x @ 0, h @ 1, y @ 3], count=128)
    assert pathc.load(model).lines == graph.lines
    assert pathc.load(pathc.Source("g.pir", print_graph(graph))) == graph


def test_overrides_are_numbers_or_texts() -> None:
    assert pathc.load(SOURCE, {"P": 256}).line("main").count == 256
    assert pathc.load(SOURCE, {"P": "2 * 64"}).line("main").count == 128
    with pytest.raises(pathc.PathcError, match="E0803"):
        pathc.load(pathc.load(SOURCE), {"P": 1})


def test_check_returns_what_is_wrong() -> None:
    assert pathc.check(SOURCE) == []
    assert [d.code for d in pathc.check(SOURCE, {"P": 100})] == ["W0303"]
    assert [str(d.severity) for d in pathc.check(pathc.Source("bad.path", TEXT.replace("relu", "rleu")))] == ["error"]
    assert [d.code for d in pathc.check(pathc.Source("bad.pir", "pir 1\ngraph g {"))] == ["E0403"]


@pytest.mark.parametrize("target", ["reference", "llvm", "slow", "fast"])
def test_compiled_nets_are_called_with_arrays(target: str) -> None:
    net = pathc.compile(SOURCE, target)
    x = np.random.default_rng(0).random((5, 32), dtype=np.float32)
    expected = pathc.compile(SOURCE, "reference")(x)
    np.testing.assert_allclose(net(x), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(net(x[0]), expected[0], rtol=1e-4, atol=1e-5)


def test_weights_as_arrays_and_what_is_wrong_with_them() -> None:
    graph = pathc.load(SOURCE)
    tensors = {name: np.ones_like(values) for name, values in initial_weights(graph).items()}
    net = pathc.compile(SOURCE, weights=tensors)
    np.testing.assert_allclose(net(np.ones(32, np.float32)).sum(), 128 * 128 / 16)
    tensors["main.1"][0] = np.nan
    with pytest.raises(pathc.PathcError, match="E0509"):
        pathc.compile(SOURCE, weights=tensors)


def test_integer_weights_are_scaled_once_for_all_targets() -> None:
    graph = pathc.load(SOURCE)
    tensors = {name: np.full(values.shape, 3, np.int8) for name, values in initial_weights(graph).items()}
    tensors["main.1.scale"] = np.array([0.5], np.float32)
    ready = weights_of(graph, tensors)
    assert set(ready) == {"main.1", "main.2"}
    assert (ready["main.1"] == 1.5).all()
    assert (ready["main.2"] == 3).all()
    x = np.ones(32, np.float32)
    np.testing.assert_allclose(
        pathc.compile(SOURCE, weights=tensors)(x), pathc.compile(SOURCE, "slow", weights=tensors)(x)
    )


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("llvm", "llvm", {}),
        (" llvm { } ", "llvm", {}),
        ("llvm{threads=2, cpu=avx2}", "llvm", {"threads": 2, "cpu": Word("avx2")}),
        ("llvm{features=+fma,-avx512f,width=8}", "llvm", {"features": Word("+fma,-avx512f"), "width": 8}),
        ("x{a=true,b=false}", "x", {"a": True, "b": False}),
    ],
)
def test_targets_are_read(text: str, name: str, options: dict[str, object]) -> None:
    assert parse_target(text) == (name, options)


@pytest.mark.parametrize("text", ["", "{", "llvm{", "llvm{a}", "llvm{a=1,a=2}", "llvm{=1}", "llvm{a=1}}x"])
def test_targets_that_cannot_be_read(text: str) -> None:
    with pytest.raises(pathc.PathcError, match="E0806"):
        parse_target(text)


def test_target_blocks_give_options_that_the_text_may_change() -> None:
    graph = pathc.load(SOURCE)
    assert choose_target("fast", graph).options == {"cpu": Word("native"), "threads": 1}
    assert choose_target("fast{threads=2}", graph).options["threads"] == 2
    with pytest.raises(pathc.PathcError, match="E0810"):
        choose_target("fsat", graph)


def test_stages_are_told_their_times() -> None:
    from pathc.ir.pipeline import Hooks

    told: list[str] = []
    compile_model(SOURCE, "reference", options=Options(hooks=Hooks(on_time=lambda name, _: told.append(name))))
    assert told == ["load", "lower", "canonical", "structure", "target"]


def test_compare_notices_a_wrong_output() -> None:
    compiled = compile_model(SOURCE, "llvm")
    x = np.random.default_rng(0).random((4, 32), dtype=np.float32)
    y = np.array(compiled.executable(x))
    right = compare(compiled, x, y)
    assert right.agrees
    assert right.share <= 1
    y[2, 3] += 10 * right.bound
    wrong = compare(compiled, x, y)
    assert not wrong.agrees
    assert wrong.share > 1
    y[2, 3] = np.nan
    assert not compare(compiled, x, y).agrees


def test_samples_that_are_not_finite_are_left_out_and_counted() -> None:
    """Two paths over one edge bring infinity and its opposite, the sum of their weights only one of them."""
    text = (
        "pathc 1\ninput x[4]\noutput y[4] : tanh\npaths p : x@0 -> y@0 { count = 8 }\n"
        "paths q : x@0 -> y@0 { count = 4 }\n"
    )
    graph = pathc.load(Source("m.path", text))
    weights = {"p.1": np.array([3, 3, 3, 3, -1, -1, -1, -1], np.float32), "q.1": np.ones(4, np.float32)}
    compiled = compile_model(graph, "llvm", weights)
    x = np.random.default_rng(0).random((6, 4), dtype=np.float32)
    x[1, 2], x[4, 0] = np.inf, np.nan
    y = np.array(compiled.executable(x))
    found = compare(compiled, x, y)
    assert found.agrees
    assert found.not_compared == 2
    y[2, 1] += 1
    assert not compare(compiled, x, y).agrees
    one = compare(compiled, x[1], np.array(compiled.executable(x[1])))
    assert one.agrees
    assert one.not_compared == 1


def test_the_reference_refuses_batches_beyond_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = compile_model(SOURCE, "reference")
    x = np.zeros((4, 32), np.float32)
    assert compiled.executable(x).shape[0] == 4
    units = sum(station.units for station in compiled.graph.stations)
    monkeypatch.setattr(sys.modules["pathc.ir.interp.evaluate"], "memory_limit", lambda: 16 * 4 * units - 1)
    with pytest.raises(PathcError, match="E0502"):
        compiled.executable(x)
    assert compiled.executable(x[:3]).shape[0] == 3


def test_reference_refuses_options_and_knows_its_stage() -> None:
    graph = pathc.load(SOURCE)
    net = BACKEND.compile(Request(graph, initial_weights(graph)))
    assert net.emit("pir") == print_graph(graph)
    with pytest.raises(pathc.PathcError, match="E0804"):
        net.emit("ll")
    with pytest.raises(pathc.PathcError, match="E0806"):
        BACKEND.compile(Request(graph, {}, {"threads": 1}))


def test_texts_are_told_apart() -> None:
    assert is_graph_text(pathc.Source("a.pir", ""))
    assert not is_graph_text(pathc.Source("a.path", "pir 1"))
    assert is_graph_text(pathc.Source("<stdin>", "  pir 1"))
    assert not is_graph_text(pathc.Source("<stdin>", "pathc 1"))


def test_names_of_the_package() -> None:
    assert set(pathc.__all__) <= set(dir(pathc)) | {"__version__"}
    for name in pathc.__all__:
        assert getattr(pathc, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = pathc.nothing


def test_graph_of_2_to_the_30_paths_compiles_to_structure_at_once() -> None:
    graph = load(SOURCE, {"P": "1Gi"})
    from pathc.driver import transform

    assert len(transform(graph).facts) == 2
