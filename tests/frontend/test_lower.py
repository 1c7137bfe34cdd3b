"""What a right program becomes: graph, defaults, overrides, used files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pathc.frontend.api import check, explain_defaults, load
from pathc.ir.catalogue import CATALOGUE, canonical, find, options_of
from pathc.ir.extents import conv_extents, padding, pool_extents, read_extents
from pathc.ir.generators import resolve
from pathc.ir.graph import Axis, Graph, Visit
from pathc.ir.types import Call, Quantity, Size, Word, fixed_point, plain_type
from pathc.support.diagnostics import PathcError
from pathc.support.source import Loc, Source

PROGRAMS = Path(__file__).parent / "programs"


def program(name: str, **overrides: str) -> Graph:
    path = PROGRAMS / f"{name}.path"
    return load(Source(str(path), path.read_text()), overrides=overrides)


def test_classifier() -> None:
    graph = program("classifier")
    assert graph.name == "mnist_mlp"
    assert [(s.name, s.role, s.shape, str(s.type)) for s in graph.stations] == [
        ("pixels", "input", (784,), "u8"),
        ("h1", "layer", (300,), "f32"),
        ("h2", "layer", (300,), "f32"),
        ("digits", "output", (10,), "f32"),
    ]
    (main,) = graph.lines
    assert [(v.station, v.dim) for v in main.visits] == [("pixels", 0), ("h1", 1), ("h2", 2), ("digits", 3)]
    assert (main.count, main.generator, main.sign, main.scale) == (4096, Call("sobol"), Call("hadamard"), 1.0)
    assert main.loc == Loc(str(PROGRAMS / "classifier.path"), 10, 1)
    assert main.visits[1].loc == Loc(str(PROGRAMS / "classifier.path"), 10, 26)


def test_axes_take_any_expression_and_come_back_in_mirrors() -> None:
    text = (
        "pathc 1\nlet G = 4\ninput x[64]\nlayer h[48]\noutput y[64]\n"
        "paths a : x@(0:8, 1:2 * G) -> h@(0:G, (1):G, G + 3:3) { count = 64 }\npaths b : h -> y { mirror = a }\n"
    )
    graph = load(Source("axes.path", text))
    x, h = Visit("x", 0, axes=(Axis(0, 8), Axis(1, 8))), Visit("h", 0, axes=(Axis(0, 4), Axis(1, 4), Axis(7, 3)))
    assert graph.line("a").visits == (x, h)
    assert graph.line("b").visits == (h, replace(x, station="y"))
    forth, back = (resolve(graph.line(name), graph) for name in "ab")
    assert back.units(1, 0, 64).tolist() == forth.units(0, 0, 64).tolist()


def test_override_takes_any_expression() -> None:
    assert program("classifier", P="8Ki").line("main").count == 8192
    assert program("classifier", P="max(3, 2) * 100").line("main").count == 300


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        ({"Q": "3"}, "E0228"),
        ({"P": "3 3"}, "E0101"),
        ({"P": "("}, "E0104"),
        ({"P": "R"}, "E0210"),
        ({"P": ""}, "E0101"),
        ({"P": "0"}, "E0209"),
        ({"P": "3\nlet y = 4"}, "E0101"),
        ({"P": "9" * 9999}, "E0111"),
    ],
)
def test_wrong_override_is_a_diagnostic(overrides: dict[str, str], code: str) -> None:
    path = PROGRAMS / "classifier.path"
    graph, diagnostics = check(Source(str(path), path.read_text()), overrides)
    assert graph is None
    assert code in [d.code for d in diagnostics]


def test_mirror_walks_backwards_with_the_same_paths() -> None:
    graph = program("autoencoder")
    encode, decode = graph.lines
    assert decode.mirror == "encode"
    assert decode.tied
    assert (decode.count, decode.generator) == (encode.count, encode.generator)
    assert [v.dim for v in decode.visits] == [2, 1, 0]
    assert decode.doc == ""
    assert encode.doc == "autoencoder: the decoder walks the encoder's paths backwards, with the same weights"
    there, back = resolve(encode, graph), resolve(decode, graph)
    assert [list(there.units(v, 0, 64)) for v in (0, 1, 2)] == [list(back.units(v, 0, 64)) for v in (2, 1, 0)]


def test_pad_rounds_up_and_remembers() -> None:
    graph = program("autoencoder")
    assert (graph.station("x").units, graph.station("x").real_units) == (1024, 784)
    assert (graph.station("code").units, graph.station("code").declared) == (64, 0)


def test_extents_flow_through_convolutions() -> None:
    graph = program("convolution")
    assert [s.shape for s in graph.stations] == [
        (3, 32, 32), (32, 32, 32), (64, 32, 32), (64, 16, 16), (64, 16, 16), (10,),
    ]  # fmt: skip
    assert read_extents(graph.station("c2")) == (16, 16)
    assert read_extents(graph.station("c4")) == (1, 1)
    assert [line.kind for line in graph.lines] == ["paths", "skip", "dense"]
    assert graph.station("c1").pipeline[0] == Call("conv", (("kernel", Size((3, 3))), ("pad", Word("same"))))


def test_recurrences_and_targets_are_carried() -> None:
    graph = program("recurrent")
    assert graph.station("a").pipeline == (Call("lstm", (("recur", Call("band", (("width", 9),))),)),)
    assert graph.station("b").pipeline[0].get("recur") == Call("band", (("width", Quantity(2.0, "%")),))
    assert graph.station("d").stage("rnn") is not None
    assert graph.station("fc").pipeline[0].get("init") == "fc.safetensors"
    stack, last = graph.lines
    assert stack.count == 4096
    assert stack.generator == Call("interleaver", (("kind", Word("ss+md")), ("z", 16)))
    assert last.visits[0].dim == 3
    assert last.visits[1].dim == 16
    assert last.generator == Call("sobol", (("scramble", Word("owen")), ("seed", 7)))
    chip, fast = graph.targets
    assert chip.backend == "engine"
    assert dict(chip.options) == {
        "lanes": 16, "banks": 16, "array": Size((16, 16)), "clock": Quantity(200.0, "MHz"),
        "weights": plain_type("i8"), "sums": fixed_point(24, 8),
    }  # fmt: skip
    assert fast.backend == "tvm-llvm"
    assert dict(fast.options) == {"threads": 2, "name": 'zen "4"', "exact": False, "cache": Quantity(4.0, "KiB")}


def test_attributes_fold_into_the_generator_and_defaults_vanish() -> None:
    head = "input x[64]\noutput y[64]\npaths a : x -> y { count = 64, "
    written = [
        ("scramble = lms, seed = 3 }", "sequence = sobol(scramble = lms, seed = 3) }"),
        ("scramble = none, seed = 0, skip = 0 }", "sequence = sobol }"),
        ("seed = 4, sequence = random }", "sequence = random(seed = 4) }"),
        ("sequence = interleaver(z = 4, kind = md+ss+sv) }", "sequence = interleaver(kind = sv+ss+md, z = 2 * 2) }"),
        ("sequence = expander, seed = 0 }", "sequence = expander() }"),
    ]
    for one, other in written:
        assert load(Source("m", head + one)) == load(Source("m", head + other))


def test_defaults_are_explained() -> None:
    path = PROGRAMS / "autoencoder.path"
    found = explain_defaults(Source(str(path), path.read_text()))
    known = {(d.subject, d.name): d.value for d in found}
    assert known["paths encode", "dimensions"] == "x@0 e1@1 code@2"
    assert known["paths encode", "sequence"] == "sobol"
    assert known["paths encode", "scramble"] == "none"
    assert known["paths encode", "skip"] == "0"
    assert known["paths decode", "count"] == "8192"
    assert known["layer e1", "type"] == "f32"
    assert known["layer e1", "bias"] == "none"
    assert ("paths decode", "weights") not in known
    assert all(d.why for d in found)


def test_model_is_named_after_its_file_if_it_has_no_name() -> None:
    text = "input x[1]\noutput y[1]\npaths p : x -> y { count = 1 }"
    assert load(Source("/a/my net-2.path", text)).name == "my_net_2"
    assert load(Source("-", text)).name == "model"
    assert load(Source("2.path", text)).name == "model"


MAIN = "let Q = N + 1\ninput x[N]\noutput y[Q]\npaths p : x -> y { count = 64 }\n"


def used(files: dict[str, str], main: str) -> tuple[Graph | None, list[str], list[str]]:
    def read(path: str) -> str:
        if path not in files:
            raise PathcError
        return files[path]

    graph, diagnostics = check(Source("dir/main.path", main), read_file=read)
    return graph, [d.code for d in diagnostics], [d.message for d in diagnostics]


def test_use_brings_in_numbers_relative_to_the_using_file() -> None:
    files = {
        "dir/a.path": 'use "sub/b.path"',
        "dir/sub/b.path": 'let N = 64\nuse "../c.path"',
        "dir/c.path": "let M = N",
    }
    graph, codes, _ = used(files, 'use "a.path"\nuse "c.path"\n' + MAIN)
    assert codes == []
    assert graph is not None
    assert graph.station("y").units == 65


def test_circular_use_prints_the_chain() -> None:
    files = {"dir/a.path": 'use "b.path"\nlet N = 3', "dir/b.path": 'use "a.path"'}
    graph, codes, messages = used(files, 'use "a.path"\n' + MAIN)
    assert graph is None
    assert codes == ["E0215"]
    assert messages[0].endswith("dir/a.path -> dir/b.path -> dir/a.path")
    _, codes, messages = used({}, 'use "main.path"\nlet N = 3\n' + MAIN)
    assert codes == ["E0215"]
    assert messages[0].endswith("dir/main.path -> dir/main.path")


def test_mistakes_with_used_files() -> None:
    assert used({}, 'use "a.path"\nlet N = 3\n' + MAIN)[1] == ["E0216"]
    assert used({}, 'use ""\nlet N = 3\n' + MAIN)[1] == ["E0216"]
    assert used({"dir/a.path": "let N = 3\ninput x[3]"}, 'use "a.path"\n' + MAIN)[1] == ["E0217"]
    assert used({"dir/a.path": "let N = 3\nlet N = 4"}, 'use "a.path"\n' + MAIN)[1] == ["E0202"]
    assert used({"dir/a.path": "let N = 3"}, 'let N = 4\nuse "a.path"\n' + MAIN)[1] == ["E0202"]
    assert used({"dir/a.path": "let N = ("}, 'use "a.path"\nlet N = 3\n' + MAIN)[1] == ["E0104"]


def test_used_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.path").write_bytes(b"let N = 3 # \xff")
    text = 'use "a.path"\nlet N = 3\n' + MAIN
    _, diagnostics = check(Source(str(tmp_path / "main.path"), text))
    assert [d.code for d in diagnostics] == ["E0216"]
    assert "UTF-8" in diagnostics[0].notes[0]


def test_sizes_of_one_and_the_largest() -> None:
    graph = load(Source("m", "input x[1]\noutput y[2Gi]\npaths p : x -> y { count = 1Ti }"))
    assert (graph.station("y").units, graph.line("p").count) == (1 << 31, 1 << 40)


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda e: f"{e.kind}-{e.name}")
def test_catalogue_is_consistent(entry: object) -> None:
    from pathc.ir.catalogue import Entry

    assert isinstance(entry, Entry)
    twins = [e for e in CATALOGUE if e.name == entry.name]
    assert all([o.name for o in twin.options] == [o.name for o in entry.options] for twin in twins)
    required = [o.positional for o in entry.options if o.required]
    call = Call(entry.name, tuple((o.name, o.default) for o in entry.options if o.default is not None))
    if not required:
        assert canonical(call) == Call(entry.name)
        assert list(options_of(Call(entry.name))) == [o.name for o in entry.options]
    else:
        with pytest.raises(KeyError):
            options_of(call)
    assert find(entry.name, (entry.kind,)) is entry
    for option in entry.options:
        assert isinstance(option.default, Word) <= (not option.choices or str(option.default) in option.choices)


def test_extents_of_convolutions_and_pools() -> None:
    def conv(**options: Any) -> Call:
        return canonical(Call("conv", tuple(options.items())))

    assert conv_extents(conv(kernel=Size((3, 3))), (32, 30)) == (30, 28)
    assert conv_extents(conv(kernel=Size((41, 11)), stride=Size((2, 2)), pad=Size((20, 5))), (161, 100)) == (81, 50)
    assert conv_extents(conv(kernel=5, causal=True, dilation=2), (100,)) == (100,)
    assert padding(conv(kernel=5, causal=True, dilation=2), 1) == ((8, 0),)
    assert padding(conv(kernel=Size((4, 3)), pad=Word("same")), 2) == ((1, 2), (1, 1))
    assert pool_extents(canonical(Call("maxpool", (("window", 3), ("stride", 2)))), (9, 7)) == (4, 3)
    with pytest.raises(ValueError, match="does not fit"):
        conv_extents(conv(kernel=Size((3, 3))), (2, 2))


def test_package_offers_functions_that_no_module_hides() -> None:
    import importlib
    import pkgutil

    import pathc.frontend

    modules = {m.name for m in pkgutil.iter_modules(pathc.frontend.__path__)}
    for name in modules:
        importlib.import_module(f"pathc.frontend.{name}")
    assert not modules.intersection(pathc.frontend.__all__)
    assert all(callable(getattr(pathc.frontend, name)) for name in pathc.frontend.__all__)
    with pytest.raises(AttributeError):
        _ = pathc.frontend.no_such_thing
