"""Split factors of filters and time loops: all that are tried are right; they are measured, kept and found again."""

from __future__ import annotations

import json
from dataclasses import replace

import cell_support
import extents_support
import gpu_on_cpu as gpu
import numpy as np
import pytest
from cell_support import STRUCTURES, Loop, OnProcessor, cell
from fake_cuda import FakeCuda

from pathc.backends.base import Request
from pathc.backends.tvm import cpu, cuda, driver, facade, nvrtc, tuner
from pathc.backends.tvm.knobs import Knob, knobs_of
from pathc.backends.tvm.program import program
from pathc.backends.tvm.recurrent.tiles import CellTile, shared_bytes, tile_of, tiles_for, with_tile
from pathc.ir.inputs import output_shape
from pathc.ir.types import Word

pytestmark = [
    pytest.mark.skipif(facade.missing() != "", reason=f"needs TVM: {facade.INSTALL}"),
    pytest.mark.usefixtures("own_cache"),
]
executed = pytest.mark.skipif(not gpu.available(), reason="needs g++ to execute CUDA text: apt-get install g++")
needs_nvrtc = pytest.mark.skipif(nvrtc.library_path() == "", reason=f"needs NVRTC: {nvrtc.INSTALL}")
GPU = {"arch": Word("sm_90")}
STAGES = (
    cell("gru", STRUCTURES["band"], reset="before", bidirectional="concat"),
    cell("lstm", STRUCTURES["ring"]),
    cell("rnn", STRUCTURES["sparse"]),
    cell("lstm", STRUCTURES["full"]),
    cell("gru", STRUCTURES["diag"], bidirectional="sum"),
)
POOLED = "input x[4, 6x6]\nlayer h[4, 6x6] : maxpool(2x2)\noutput y[4, 3x3]\nskip s : x -> h\nskip t : h -> y\n"


def of_cells(backend, *stages, batch=0, units=40, **options):
    graph = cell_support.stack(*((stage,) for stage in stages), units=units)
    weights = cell_support.drawn(graph, 1)
    return graph, weights, backend.compile(Request(graph, weights, options, batch))


def of_extents(backend, text, **options):
    graph, weights, x = extents_support.case(text)
    return graph, weights, x, backend.compile(Request(graph, weights, options, len(x)))


def every(knob: Knob) -> list:
    """All tiles that the tries of an operation lead to from its own."""
    found = [knob.default]
    for tile in found:
        found += [made for tried in knob.tries if (made := tried(tile)) is not None and made not in found]
    return found


def nth(knobs, number: int) -> dict:
    """A tile for every operation, another one for another number."""
    return {knob.name: (all_ := every(knob))[-number % len(all_)] for knob in knobs}


def test_time_loops_are_right_however_they_are_divided():
    """On the processor, with tiles whose threads, turns, sequences and registers differ."""
    loops = []
    for stage in STAGES:
        one = Loop.of(stage, "p0", 80 if "concat" in str(stage) else 40)
        tiles = sorted(tiles_for(one.plan), key=str)
        assert len({(t.turns, t.across) for t in tiles}) > 1
        groups = [group for held in (0, 1) if (group := [tile for tile in tiles if tile.held == held])]
        for tile in (group[at] for group in groups for at in (len(group) // 3, -1)):
            name = f"p{len(loops)}"
            plan = replace(with_tile(one.plan, tile), name=name, sums=f"{name}_sums", out=f"{name}_out")
            loops.append(Loop(plan, one.weights))
    assert {loop.plan.held for loop in loops} == {True, False}
    sums = {loop.plan.name: loop.sums(9, 4) for loop in loops}
    made = OnProcessor(*loops).run(sums)
    for loop in loops:
        loop.check(sums[loop.plan.name], made[loop.plan.name])


@executed
def test_time_loops_on_a_gpu_are_right_however_they_are_divided():
    graph, weights, executable = of_cells(cuda.BACKEND, *STAGES[:3], **GPU)
    knobs = [knob for knob in knobs_of(executable.lowered) if isinstance(knob.default, CellTile)]
    given = (20, 1, 4, 2, 1), (32, 2, 2, 2, 1), (32, 2, 4, 8, 0)
    tiles = {knob.name: CellTile(*numbers) for knob, numbers in zip(knobs, given, strict=True)}
    assert all(tiles[knob.name] in every(knob) and tiles[knob.name] != knob.default for knob in knobs)
    made = program(replace(executable.lowered, tiles=tiles), "sm_90")
    assert made.text != executable.program.text
    x = cell_support.sequences(graph, 11, 3, 1)
    cell_support.check(graph, weights, x, gpu.run(made, executable.parameters, x, 2))


@executed
@pytest.mark.parametrize("number", [1, 3])
def test_filters_on_a_gpu_are_right_however_they_are_divided(number):
    graph, weights, x, executable = of_extents(cuda.BACKEND, extents_support.SUMS, **GPU)
    knobs = knobs_of(executable.lowered)
    assert len(knobs) >= 5
    lowered = replace(executable.lowered, tiles=nth(knobs, number))
    y = gpu.run(program(lowered, "sm_90"), lowered.filter_parameters, x.reshape(len(x), -1), number)
    extents_support.checked(graph, weights, x, y.reshape(len(x), *output_shape(graph)))


def test_filters_on_a_processor_are_right_however_they_are_divided():
    graph, weights, x, executable = of_extents(cpu.BACKEND, extents_support.SUMS)
    net = executable.net(len(x))
    for number in (1, 2):
        tiled = net.tiled(replace(net.lowered, tiles=nth(knobs_of(net.lowered), number)))
        y = np.empty((len(x), net.plan.outputs), np.float32)
        tiled.run(x.reshape(len(x), -1), y)
        extents_support.checked(graph, weights, x, y.reshape(len(x), *output_shape(graph)))


def test_states_that_are_tried_fit_shared_memory():
    plan = Loop.of(STAGES[3], "p0", 300).plan
    limit = 4 * shared_bytes(with_tile(plan, replace(tile_of(plan), slots=1, samples=1)))
    tiles = tiles_for(plan, limit)
    assert {shared_bytes(with_tile(plan, tile)) <= limit for tile in tiles} == {True}
    assert max(tile.slots * tile.samples for tile in tiles) == 4
    assert len(tiles) < len(tiles_for(plan))


def preferring(knobs, likes):
    """Seconds of kernels of which those are faster whose operations have tiles that are liked, and what was tried."""
    tried = []

    def measure(tiles):
        tried.append(dict(tiles))
        return {k.kernel: 2.0 - likes(tiles.get(k.name, k.default)) for k in knobs}

    return measure, tried


def test_kernels_are_judged_one_by_one():
    _, _, _, executable = of_extents(cpu.BACKEND, extents_support.ACROSS)
    knobs = knobs_of(executable.net(2).lowered)
    first = knobs[0]
    liked = first.tries[0](first.default)
    measure, tried = preferring(knobs, lambda tile: 0.5 * (tile is not None and tile == liked))
    assert tuner.tune(knobs, measure) == {first.name: liked}
    assert tried[0] == {}
    assert len(tried[1]) > 1
    assert any(tiles[first.name] == liked and len(tiles) > 1 for tiles in tried[2:]), "the best stays for what follows"
    assert len(tried) <= 1 + max(len(knob.tries) for knob in knobs)


def remembered(backend, compiled, likes, lowered_of):
    """What tuning with these likes chooses; compiled again it is the same, and a damaged entry is told of."""
    executable = compiled()
    assert executable.notes == ()
    knobs = knobs_of(lowered_of(executable))
    found = tuner.tune(knobs, preferring(knobs, likes)[0])
    assert found
    device = tuner.processor("") if backend is cpu.BACKEND else "cuda sm_90"
    plan = lowered_of(executable).plan
    assert tuner.remember(plan, device, found)
    again = compiled()
    assert [note.code for note in again.notes] == ["W0671"]
    assert lowered_of(again).tiles == found
    path = tuner.database()
    record = json.loads(path.read_text())
    entry = record["entries"][tuner.key_of(plan, device)]
    for damage in ({"rows": 977}, {"other": 1}, 3, None):
        entry[next(iter(found))] = damage
        path.write_text(json.dumps(record))
        damaged = compiled()
        assert [note.code for note in damaged.notes] == ["W0682"], damage
        assert lowered_of(damaged).tiles == {}
    path.unlink()
    return again


@pytest.mark.parametrize("text", [extents_support.ACROSS, extents_support.SUMS], ids=["then flat", "alone"])
def test_nets_with_extents_are_tuned_on_processors(text):
    """The plan that tiles are kept for is that of the whole net, so that damage to them is noticed."""
    graph, weights, x, _ = of_extents(cpu.BACKEND, text)
    likes = lambda tile: getattr(tile, "channels", 1) == 2  # noqa: E731
    compiled = lambda: of_extents(cpu.BACKEND, text)[3]  # noqa: E731
    again = remembered(cpu.BACKEND, compiled, likes, lambda made: made.net(len(x)).lowered)
    extents_support.checked(graph, weights, x, again(x))


def test_nets_with_cells_are_tuned_on_processors():
    graph, weights, _ = of_cells(cpu.BACKEND, *STAGES[:2])
    again = remembered(cpu.BACKEND, lambda: of_cells(cpu.BACKEND, *STAGES[:2])[2],
                       lambda tile: getattr(tile, "samples", 1) == 2, lambda made: made.lowered)  # fmt: skip
    x = cell_support.sequences(graph, 5, 6, 1)
    cell_support.check(graph, weights, x, again(x))
    assert "0 sequences" not in str(again.emit("plan"))


def test_other_nets_are_tuned_for_gpus():
    for compiled in (lambda: of_extents(cuda.BACKEND, extents_support.SUMS, **GPU)[3],
                     lambda: of_cells(cuda.BACKEND, *STAGES[:2], **GPU)[2]):  # fmt: skip
        likes = lambda tile: getattr(tile, "rows", getattr(tile, "slots", 0)) == 1  # noqa: E731
        remembered(cuda.BACKEND, compiled, likes, lambda made: made.lowered)


def test_every_function_is_measured(monkeypatch):
    monkeypatch.setattr(tuner, "tune", lambda knobs, measure: measured.update(measure({})) or {})
    measured: dict[str, float] = {}
    executable = of_extents(cpu.BACKEND, extents_support.ACROSS, tune=True)[3]
    assert set(measured) == {f.name for f in executable.net(2).lowered.functions}
    measured.clear()
    _, _, sequences = of_cells(cpu.BACKEND, STAGES[0], tune=True)
    assert set(measured) == {f.name for f in sequences.lowered.functions}
    assert all(spent > 0 for spent in measured.values())
    assert executable.notes == sequences.notes == ()


@executed
@needs_nvrtc
@pytest.mark.parametrize("kind", ["extents", "cells"])
def test_every_kernel_is_measured_on_the_gpu_here(monkeypatch, kind):
    def compiled(**options):
        if kind == "extents":
            return of_extents(cuda.BACKEND, extents_support.ACROSS, **GPU, **options)[3]
        stage = cell("lstm", STRUCTURES["ring"], stateful=True)
        return of_cells(cuda.BACKEND, stage, batch=2, units=12, **GPU, **options)[2]

    plain = compiled()
    monkeypatch.setattr(driver, "missing", lambda: "")
    monkeypatch.setattr(driver, "device", lambda: driver.Device(FakeCuda(plain.program.text)))
    monkeypatch.setattr(driver, "_SERIES", 0.0)
    monkeypatch.setattr(driver.Loaded.seconds, "__defaults__", (3,))
    monkeypatch.setattr(tuner, "STEPS", 3)
    measured: dict[str, float] = {}
    monkeypatch.setattr(tuner, "tune", lambda knobs, measure: measured.update(measure({})) or {})
    compiled(tune=True)
    assert set(measured) == {one.kernel.removesuffix("_kernel") for one in plain.program.launches}
    assert {knob.kernel for knob in knobs_of(plain.lowered)} <= set(measured)


def test_where_there_is_nothing_to_tune_a_note_says_so():
    for backend, options in ((cpu.BACKEND, {}), (cuda.BACKEND, GPU)):
        executable = of_extents(backend, POOLED, tune=True, **options)[3]
        assert [note.code for note in executable.notes] == ["W0683"]
