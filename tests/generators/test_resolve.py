from dataclasses import replace

import numpy as np
import pytest

from pathc.ir.generators import NAMES, make, resolve
from pathc.ir.generators.base import Affine
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.types import Call, Word
from pathc.ir.vocabulary import CATALOGUE
from pathc.support.codes import catalogue
from pathc.support.diagnostics import PathcError
from pathc.support.source import Loc

X, H, Y = Station("x", "input", (16,)), Station("h", "layer", (8,)), Station("y", "output", (16,))
FORTH = Line("forth", "paths", (Visit("x", 0), Visit("h", 1)), 32, loc=Loc("net.path", 5, 1))
BACK = Line("back", "paths", (Visit("h", 0), Visit("y", 1)), 32, mirror="forth", loc=Loc("net.path", 6, 1))


def graph(*lines):
    return Graph("net", (X, H, Y), lines)


def test_every_generator_of_the_vocabulary_can_be_made(tmp_path):
    assert sorted(NAMES) == sorted(entry.name for entry in CATALOGUE if entry.kind == "generator")
    np.savez(tmp_path / "paths.npz", units=np.zeros((2, 32), int))
    needed = {"interleaver": (("z", 4),), "explicit": (("file", "paths.npz"),)}
    for name in NAMES:
        generator = make(Call(name, needed.get(name, ())), (0, 1), (16, 8), 32, folder=tmp_path)
        assert (generator.sizes, generator.count) == ((16, 8), 32)
        for visit in (0, 1):
            units = generator.units(visit, 0, 32)
            assert units.dtype == np.int64
            assert units.shape == (32,)
            np.testing.assert_array_equal(units[5:20], generator.units(visit, 5, 20))
            affine = generator.affine(visit)
            assert affine is None or [affine(i) for i in range(32)] == units.tolist()


def test_options_reach_the_generator():
    skipped = make(Call("sobol", (("skip", 8), ("scramble", Word("none")))), (3,), (16,), 8)
    plain = make(Call("sobol"), (3,), (16,), 16)
    np.testing.assert_array_equal(skipped.units(0, 0, 8), plain.units(0, 8, 16))
    assert make(Call("sobol", (("scramble", Word("owen")),)), (3,), (16,), 16).affine(0) is None
    dithered = make(Call("interleaver", (("z", 4), ("kind", Word("ss+md")), ("seed", 3))), (0, 1), (16, 8), 32)
    assert sorted(dithered.units(0, 0, 32).tolist()) == sorted([*range(16)] * 2)


def test_a_line_gives_dimensions_and_sizes():
    line = replace(FORTH, visits=(Visit("x", 2), Visit("h", 5)))
    generator = resolve(line, graph(line))
    expected = make(Call("sobol"), (2, 5), (16, 8), 32)
    for visit in (0, 1):
        np.testing.assert_array_equal(generator.units(visit, 0, 32), expected.units(visit, 0, 32))


def test_a_mirrored_line_walks_backwards():
    net = graph(FORTH, BACK)
    forth, back = resolve(FORTH, net), resolve(BACK, net)
    assert (back.sizes, back.count) == ((8, 16), 32)
    for visit in (0, 1):
        np.testing.assert_array_equal(back.units(visit, 3, 30), forth.units(1 - visit, 3, 30))
        assert back.affine(visit) == forth.affine(1 - visit)


def test_mirrors_that_do_not_fit_are_refused():
    for wrong in (
        replace(BACK, count=16),
        replace(BACK, visits=(Visit("x", 0), Visit("h", 1))),
        replace(BACK, name="loop", mirror="loop"),
    ):
        with pytest.raises(PathcError, match="E0348") as caught:
            resolve(wrong, graph(FORTH, wrong))
        assert caught.value.diagnostics[0].loc == wrong.loc


def test_explicit_files_lie_beside_the_model(tmp_path):
    np.savez(tmp_path / "paths.npz", units=np.array([range(8), range(8)]))
    call = Call("explicit", (("file", "paths.npz"),))
    line = replace(FORTH, count=8, generator=call, loc=Loc(str(tmp_path / "net.path"), 1, 1))
    assert resolve(line, graph(line)).units(1, 2, 5).tolist() == [2, 3, 4]
    assert resolve(replace(line, loc=None), graph(line), tmp_path).units(1, 2, 5).tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("call", "code", "hint"),
    [
        (Call("sobul"), "E0340", "did you mean `sobol`?"),
        (Call("sobol", (("sede", 1),)), "E0344", "did you mean `seed`?"),
        (Call("sobol", (("scramble", Word("owne")),)), "E0344", "did you mean `owen`?"),
        (Call("sobol", (("scramble", 3),)), "E0344", ""),
        (Call("sobol", (("seed", -1),)), "E0344", ""),
        (Call("sobol", (("seed", True),)), "E0344", ""),
        (Call("sobol", (("skip", 0.5),)), "E0344", ""),
        (Call("random", (("seed", Word("x")),)), "E0344", ""),
        (Call("shuffle", (("seed", 1),)), "E0344", ""),
        (Call("interleaver"), "E0344", ""),
        (Call("interleaver", (("z", 4), ("dither", 1))), "E0344", ""),
        (Call("interleaver", (("z", 3),)), "E0346", "z may be 1, 2, 4, 8; 18 units fill 3 memories"),
        (Call("explicit", (("file", Word("x")),)), "E0344", ""),
        (Call("explicit", (("file", "absent.npz"),)), "E0501", None),
    ],
)
def test_wrong_calls_are_diagnosed_at_their_place(call, code, hint, tmp_path):
    place = Loc("net.path", 7, 3)
    with pytest.raises(PathcError, match=code) as caught:
        make(call, (0, 1), (16, 8), 32, place, tmp_path)
    (diagnostic,) = caught.value.diagnostics
    assert hint is None or (diagnostic.help, diagnostic.place) == (hint, place)
    assert code in catalogue()


def test_an_affine_map_of_no_columns_is_its_shift():
    assert Affine((), 5)(0) == 5
