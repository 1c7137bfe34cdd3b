"""Nets with cells on the engine: exact at every step, short programs, loops that keep the lanes at work."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "recurrent"))

from recurrent_nets import STRUCTURES, cell, net, random_weights

from pathc.backends.engine.check import check
from pathc.backends.engine.files import assemble, disassemble, from_bytes, to_bytes
from pathc.backends.engine.isa import Unit
from pathc.backends.engine.lower import lower, sequence
from pathc.backends.engine.machine import Machine
from pathc.backends.engine.program import Program
from pathc.backends.engine.sim import Run, simulate
from pathc.backends.engine.sim.functional import execute
from pathc.backends.engine.sim.pipeline import pipelined
from pathc.backends.engine.unroll import unrolled
from pathc.backends.engine.use import outputs_of
from pathc.cli import main
from pathc.ir.compress.quantize import quantize
from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.quantized import IntegerNetwork, evaluate_integers, integer_forward, integer_network, quantize_inputs
from pathc.ir.types import Call
from pathc.support.diagnostics import PathcError
from pathc.support.source import Source

BIAS = Call("bias")
WIDTHS = st.integers(1, 40) | st.sampled_from([8, 16, 32, 64])


def integers(graph: Graph, seed: int = 0, scale: float = 0.3) -> IntegerNetwork:
    """The graph with random weights, quantized and calibrated."""
    units = sum(station.real_units for station in graph.inputs)
    made = quantize(graph, random_weights(graph, seed, scale), data=inputs_of(graph, 2, 4, seed))
    assert units
    return integer_network(made.graph, made.tensors)


def inputs_of(graph: Graph, samples: int, steps: int, seed: int = 0) -> np.ndarray:
    units = sum(station.real_units for station in graph.inputs)
    return np.random.default_rng(seed).normal(0, 1, (samples, steps, units))


def visits(*names: str) -> tuple[Visit, ...]:
    return tuple(Visit(name, place) for place, name in enumerate(names))


@st.composite
def cells(draw: st.DrawFn, units: int) -> tuple[Call, ...]:
    """A cell with a bias in front, and sometimes a relu behind."""
    name = draw(st.sampled_from(["rnn", "rnn", "indrnn", "linear"]))
    known = ["full", "band", "ring", "diag", "sparse", "paths"]
    recur = None if name == "indrnn" else STRUCTURES[draw(st.sampled_from(known))]
    if recur == STRUCTURES["sparse"] and units < 2:
        recur = STRUCTURES["diag"]
    function = {"activation": draw(st.sampled_from(["tanh", "relu", "sigmoid", "identity"]))} if name == "rnn" else {}
    behind = (Call("relu"),) if draw(st.booleans()) else ()
    return (BIAS, cell(name, recur, **function), *behind)


@st.composite
def nets(draw: st.DrawFn) -> Graph:
    """One or two cells behind paths, with a station that needs no state, lines around them, and one or two outputs."""
    size = {name: draw(WIDTHS) for name in "xzacdy"}
    free, second, around = (draw(st.booleans()) for _ in range(3))
    stations = [Station("x", "input", (size["x"],)), Station("z", "input", (size["z"],))]
    walk = ["x"]
    if free:
        stations.append(Station("a", "layer", (size["a"],), pipeline=(BIAS, Call("relu"))))
        walk.append("a")
    stations.append(Station("c", "layer", (size["c"],), pipeline=draw(cells(size["c"]))))
    walk.append("c")
    if second:
        stations.append(Station("d", "layer", (size["d"],), pipeline=draw(cells(size["d"]))))
        walk.append("d")
    stations.append(Station("y", "output", (size["y"],), pipeline=(BIAS, Call("tanh"))))
    lines = [Line("main", "paths", visits(*walk, "y"), draw(st.integers(1, 200))),
             Line("also", "dense", visits("z", walk[-1]))]  # fmt: skip
    if around:
        lines.append(Line("over", "dense", visits("x", "y")))
    if draw(st.booleans()):
        stations.append(Station("o", "output", (size["d"],), pipeline=draw(cells(size["d"]))[:2]))
        lines.append(Line("out", "dense", visits("c", "o")))
    return Graph("net", tuple(stations), tuple(lines))


MACHINES = st.builds(
    Machine, lanes=st.sampled_from([4, 8, 16]), forwarding=st.integers(0, 1), fifo=st.sampled_from([2, 16]),
    weight_bytes=st.sampled_from([1, 4, 16]), queue=st.sampled_from([1, 4]), memory_bytes=st.sampled_from([2, 16]),
    activation_rows=st.just(2048), accumulator_rows=st.just(2048), parameter_rows=st.just(4096),
)  # fmt: skip


def assert_exact(network: IntegerNetwork, machine: Machine, samples: int, steps: int) -> Run:
    """Compile, check, simulate, compare with the integer interpreter; the run."""
    program = from_bytes(to_bytes(lower(network, machine, samples, steps)))
    assert check(program) == []
    x = inputs_of(network.graph, samples, steps, steps)
    rows, layout = quantize_inputs(network, x)
    trace = evaluate_integers(network, rows, layout.steps)
    expected = [trace.values[station.name][:, : station.real_units] for station in network.graph.outputs]
    run = simulate(program, program.quantized(x.reshape(samples * steps, -1)))
    assert program.integers(run.outputs).tolist() == np.concatenate(expected, axis=1).tolist()
    assert np.array_equal(execute(program, program.quantized(x.reshape(samples * steps, -1))), run.outputs)
    return run


@settings(deadline=None, max_examples=30)
@given(nets(), MACHINES, st.integers(1, 5), st.integers(1, 24), st.integers(0, 9))
def test_random_nets_are_exact(graph: Graph, machine: Machine, samples: int, steps: int, seed: int) -> None:
    run = assert_exact(integers(graph, seed), machine, samples, steps)
    program = run.program
    again = assemble(Source("net.s", disassemble(program)))
    assert (again.code, again.steps, again.lockstep) == (program.code, program.steps, program.lockstep)


@pytest.mark.parametrize(("recur", "name", "tables"), [
    ("diag", "BAND", 0), ("band", "BAND", 0), ("ring", "BAND", 0), ("full", "DENSE", 0), ("grouped", "DENSE", 0),
    ("sparse", "TPATH", 1), ("paths", "TPATH", 1),
])  # fmt: skip
def test_structures_and_their_instructions(recur: str, name: str, tables: int) -> None:
    """Full and grouped matrices take n n / z steps, a band a row of weights for every row and diagonal."""
    structure = Call("grouped", (("groups", 4),)) if recur == "grouped" else STRUCTURES[recur]
    units = 256 if recur == "grouped" else 64
    network = integers(net(cell("rnn", structure), units=units, inputs=16, dense=True), scale=0.1)
    program = lower(network, Machine(), 1, 8)
    own = [each for n, each, _ in unrolled(program) if program.place(n).startswith("c.recurrent.h")]
    assert {each.name for each in own} == {"LDW", name}
    steps = sum(each.fields["rows"] for each in own if each.name == "LDW") // (8 - 1)
    expected = {"diag": 4, "band": 20, "ring": 20, "full": 256, "grouped": 256 * 64 // 16}
    assert steps == expected.get(recur, steps)
    used = sum(each.fields.get("steps", 0) for each in own if each.name == "TPATH") // (8 - 1)
    assert used == tables * steps


def test_paths_into_a_band_need_no_table() -> None:
    """Inputs lie so that the paths find the cell's units bank after bank; what leads on is four instructions, too."""
    stations = [Station("x", "input", (256,)), Station("c", "layer", (1024,), pipeline=(BIAS, cell(
        "rnn", STRUCTURES["band"]))), Station("y", "output", (64,))]  # fmt: skip
    line = Line("main", "paths", visits("x", "c", "y"), 4096)
    network = integers(Graph("n", tuple(stations), (line,)), scale=0.1)
    program = assert_exact(network, Machine(), 2, 3).program
    assert len(program.tables) == 0
    assert {e.name for e in program.code if e.unit is Unit.EX} == {"PATH", "BAND"}


def test_a_ring_that_does_not_fill_the_banks_goes_by_table() -> None:
    """Its ends are no neighbours."""
    network = integers(net(cell("rnn", STRUCTURES["ring"]), units=60, inputs=16))
    program = assert_exact(network, Machine(), 1, 5).program
    own = [n for n in range(len(program.code)) if program.place(n).startswith("c.recurrent.h")]
    assert {program.code[n].name for n in own} == {"LDW", "TPATH"}


def test_programs_are_as_long_for_any_number_of_steps() -> None:
    network = integers(net(cell("rnn", STRUCTURES["band"]), units=64, inputs=16))
    long = lower(network, Machine(), 1, 400)
    short = lower(network, Machine(), 1, 100)
    assert len(long.code) == len(short.code) < 100
    (loop,) = [each for each in long.code if each.name == "LOOP"]
    assert loop.fields["count"] > 190
    runs = [simulate(p, np.zeros((p.rows, 16), np.int64)).cycles for p in (short, long)]
    (other,) = [each for each in short.code if each.name == "LOOP"]
    a_round = (runs[1] - runs[0]) / (loop.fields["count"] - other.fields["count"])
    assert a_round == int(a_round)
    assert_exact(network, Machine(), 1, 75)


def test_lanes_are_used_as_promised() -> None:
    """1024 units, a band of 21 diagonals: one sequence, and eight that share every row of weights."""
    network = integers(net(cell("rnn", Call("band", (("width", 21),))), units=1024, inputs=64, outputs=16), scale=0.1)
    one = assert_exact(network, Machine(), 1, 20)
    assert one.utilisation > 0.90
    slow = Machine(weight_bytes=2, activation_rows=2048, accumulator_rows=2048)
    assert simulate(lower(network, slow, 1, 10), np.zeros((10, 64), np.int64)).utilisation < 0.13
    many = simulate(lower(network, slow, 8, 10), np.zeros((80, 64), np.int64))
    assert many.program.lockstep == 8
    assert many.utilisation > 0.80


def test_weights_of_lines_are_streamed_once_for_several_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as streaming is slower than the lanes; no other number takes fewer cycles by more than the ends do."""
    network = integers(net(cell("rnn", STRUCTURES["diag"]), units=64, inputs=64, outputs=4, dense=True))
    machine = Machine(weight_bytes=4)
    chosen = lower(network, machine, 1, 60)
    held = max(each.fields["hold"] for each in chosen.code if each.name == "DENSE")
    cycles = {}
    for ahead in (1, 2, held, 8, 15):
        room = sequence.room_for
        monkeypatch.setattr(sequence, "room_for", lambda *a, ahead=ahead, room=room: replace(room(*a), ahead=ahead))
        made = lower(network, machine, 1, 60)
        monkeypatch.undo()
        cycles[ahead] = simulate(made, np.zeros((60, 64), np.int64)).cycles
    assert 4 <= held < 8
    assert simulate(chosen, np.zeros((60, 64), np.int64)).cycles == cycles[held]
    assert cycles[held] < 0.3 * cycles[1]
    assert cycles[held] < 1.02 * min(cycles.values())


def test_a_small_machine_takes_fewer_samples_side_by_side() -> None:
    network = integers(net(cell("rnn", STRUCTURES["band"]), units=64, inputs=16))
    small = Machine(activation_rows=24, accumulator_rows=64, parameter_rows=64)
    run = assert_exact(network, small, 5, 9)
    assert 1 < run.program.lockstep < 5
    with pytest.raises(PathcError, match="E1051"):
        lower(network, Machine(activation_rows=8), 1, 4)
    with pytest.raises(PathcError, match=r"E1051.*20 instructions"):
        lower(network, Machine(program_words=20), 1, 90)


def test_fewer_steps_are_done_ahead_where_the_program_would_not_fit() -> None:
    """Slow weights ask for many steps ahead; each row of a dense matrix is an instruction of its own."""
    network = integers(net(cell("rnn", Call("full")), units=64, inputs=64, dense=True), scale=0.1)
    held = []
    for words in (4096, 200):
        program = lower(network, Machine(weight_bytes=2, program_words=words), 1, 60)
        held.append(max(each.fields["hold"] for each in program.code if each.name == "DENSE"))
        assert len(program.code) <= words
    assert held[0] > held[1]


def test_every_kind_of_token_is_needed() -> None:
    """Without the tokens of one kind the checker finds a race."""
    network = integers(net(cell("rnn", STRUCTURES["band"]), units=64, inputs=16))
    program = lower(network, Machine(), 1, 12)
    for kind in range(6):
        assert any(each.wait >> kind & 1 for each in program.code)
        code = tuple(replace(e, wait=e.wait & ~(1 << kind), post=e.post & ~(1 << kind)) for e in program.code)
        assert {d.code for d in check(replace(program, code=code))} == {"E1041"}


def outputs(network: IntegerNetwork, program: Program, x: np.ndarray) -> np.ndarray:
    stored = execute(program, program.quantized(x.reshape(-1, x.shape[-1])))
    return outputs_of(program, stored)


def test_a_cell_as_output_and_sequences_of_one_step() -> None:
    stations = (Station("x", "input", (6,)), Station("y", "output", (5,), pipeline=(BIAS, cell("rnn", Call("full")))))
    network = integers(Graph("n", stations, (Line("l", "dense", visits("x", "y")),)))
    for samples, steps in ((1, 1), (3, 1), (2, 9)):
        x = inputs_of(network.graph, samples, steps)
        found = outputs(network, lower(network, Machine(lanes=4), samples, steps), x)
        assert found.shape == (samples, steps, 5)
        assert found.tolist() == integer_forward(network, x).tolist()


@pytest.mark.parametrize(("graph", "said"), [
    (net(cell("rnn", Call("diag"), bidirectional="concat")), "runs backwards in time"),
    (net(cell("rnn", Call("diag"), stateful=True)), "keeps its state"),
    (net(cell("rnn", Call("diag")), behind=(Call("leaky", (("slope", 0.5),)),)), "behind its cell"),
    (net(cell("rnn", Call("diag")), behind=(Call("kwinners", (("k", 2),)),)), "behind its cell"),
])  # fmt: skip
def test_what_the_engine_cannot_do_is_refused(graph: Graph, said: str) -> None:
    with pytest.raises(PathcError, match=f"E1050.*{said}"):
        lower(integers(graph), Machine(), 1, 4)


def test_a_relu_behind_the_cell_of_an_output_is_refused() -> None:
    pipeline = (BIAS, cell("linear", Call("diag")), Call("relu"))
    stations = (Station("x", "input", (6,)), Station("y", "output", (5,), pipeline=pipeline))
    network = integers(Graph("n", stations, (Line("l", "dense", visits("x", "y")),)))
    with pytest.raises(PathcError, match=r"E1050.*station of its own|E1050.*relu behind"):
        lower(network, Machine(), 1, 4)


def test_junctions_side_by_side_have_no_steps() -> None:
    program = lower(integers(net(cell("rnn", Call("diag")))), Machine(), 1, 1)
    with pytest.raises(PathcError, match="E1071"):
        pipelined(program, np.zeros((1, 7), np.int64))


MODEL = """pathc 1
model s
input  x[16]
layer  h[64] : bias | rnn(recur = band(5))
output y[4]  : bias
paths main : x -> h -> y { count = 256 }
"""


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.path").write_text(MODEL)
    x = np.random.default_rng(0).random((2, 9, 16)).astype(np.float32)
    np.save("x.npy", x)
    np.save("one.npy", x[0])
    assert main(["run", "s.path", "-t", "engine", "--input", "x.npy", "--against", "reference", "-o", "y.npy"]) == 0
    assert "agrees         yes" in capsys.readouterr().err
    assert np.load("y.npy").shape == (2, 9, 4)
    assert main(["run", "s.path", "-t", "engine", "--input", "one.npy", "-o", "one_y.npy"]) == 0
    assert np.array_equal(np.load("one_y.npy"), np.load("y.npy")[0])
    assert main(["compile", "s.path", "-t", "engine{steps=9}", "--batch", "2", "-o", "s.pe"]) == 0
    assert main(["sim", "s.pe", "--input", "x.npy", "-o", "z.npy"]) == 0
    assert "2 samples of 9 steps" in capsys.readouterr().out
    assert np.array_equal(np.load("z.npy"), np.load("y.npy"))
    assert main(["sim", "s.pe", "--input", "one.npy"]) == 1
    assert "takes 2 samples of 9 steps" in capsys.readouterr().err
    assert main(["sim", "s.pe", "--check"]) == 0
    assert main(["dump", "s.path", "-t", "engine{steps=0}", "--emit", "engine"]) == 2
    for kind in ("array", "gemmini"):
        assert main(["dump", "s.path", "-t", "engine", "--emit", kind]) == 1
        assert "E0376" in capsys.readouterr().err
    assert main(["dump", "s.path", "-t", "engine{dim=16, steps=99}", "--emit", "engine"]) == 0
    assert "LOOP" in capsys.readouterr().out
    (tmp_path / "g.path").write_text(MODEL.replace("rnn(", "gru("))
    assert main(["run", "g.path", "-t", "engine", "--input", "x.npy"]) == 1
    assert "E1303" in capsys.readouterr().err


def test_every_unit_accounts_for_every_cycle() -> None:
    run = assert_exact(integers(net(cell("rnn", STRUCTURES["band"]), units=64, inputs=16)), Machine(), 2, 11)
    for unit in Unit:
        account = run.accounts[unit]
        assert account.busy + account.stall_weight + account.stall_bank + account.stall_raw + account.stall_token \
            + account.idle == run.cycles  # fmt: skip
