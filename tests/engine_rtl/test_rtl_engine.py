"""The generated engine against the simulator: outputs and cycles, exactly, in Verilator and in Icarus."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
sys.path.insert(0, str(Path(__file__).parents[1] / "recurrent"))

from engine_nets import chain, quantized, rich
from engine_programs import SMALL, band, make, program, running
from recurrent_nets import STRUCTURES, cell, random_weights
from recurrent_nets import net as recurrent

from pathc.backends.engine.check import check
from pathc.backends.engine.isa import Instruction
from pathc.backends.engine.lower import lower
from pathc.backends.engine.machine import Machine
from pathc.backends.engine.program import Program
from pathc.backends.engine.sim import simulate
from pathc.backends.engine.verilog import emit, replay
from pathc.backends.engine.verilog.replay import Built, build, built
from pathc.cli import main
from pathc.ir.compress.quantize import quantize
from pathc.ir.quantized import integer_network
from pathc.ir.types import Call
from pathc.support.diagnostics import PathcError

PROGRAMS = int(os.environ.get("PATHC_RTL_PROGRAMS", "30"))
"""Random programs for each machine; the suite runs some, PATHC_RTL_PROGRAMS=200 a thousand in all."""
ROOMY = replace(SMALL, activation_rows=32, accumulator_rows=32)
MACHINES = {
    "plain": (ROOMY, "verilator"),
    "slow weights": (replace(ROOMY, memory_latency=40, weight_bytes=1, fifo=2, queue=1), "icarus"),
    "no forwarding": (replace(ROOMY, memory_bytes=1, forwarding=0), "icarus"),
    "no latency": (replace(ROOMY, lanes=8, memory_latency=0, weight_latency=0, accumulator_bits=24), "icarus"),
}


def needs(tool: str) -> None:
    missing = [name for name in replay.TOOLS[tool] if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {missing[0]} (Debian packages verilator, g++, make, iverilog)")


@pytest.fixture(scope="module", params=list(MACHINES))
def hardware(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    machine, tool = MACHINES[request.param]
    needs(tool)
    return build(machine, tool, tmp_path_factory.mktemp("hardware"))


@st.composite
def flowing(draw: st.DrawFn, machine: Machine) -> Program:
    """Programs in which data flows: settings, a load, weights, steps of any kind, an activation, a store; in a loop."""
    bits = st.integers(0, 1)
    number = draw(st.integers(1, 3))
    code: list[Instruction] = [make("CFG", slot=draw(st.integers(0, 3)), words=draw(st.integers(1, 6)))]
    for _ in range(number):
        hold, count, row = draw(st.integers(1, 3)), draw(st.integers(1, 8)), draw(st.integers(0, 3))
        read = {"buffer": 0, "unsigned": draw(bits), "rectify": draw(bits), "source": row, "hold": hold,
                "sum": draw(st.integers(0, 4)), "source_stride": draw(st.integers(0, 3)),
                "sum_stride": draw(st.integers(0, 3))}  # fmt: skip
        name = draw(st.sampled_from(["PATH", "TPATH", "DENSE", "BAND"]))
        own = {
            "PATH": {"slot": draw(st.integers(0, 3)), "start": draw(st.integers(0, 9)), "steps": count},
            "TPATH": {"table": draw(st.integers(0, 2)), "steps": min(count, 6)},
            "DENSE": {"rows": min(count, 4), "bits": draw(st.integers(0, 2))},
            "BAND": band(draw, min(count, 4)),
        }[name]
        step = make(name, **own, **read).with_tokens(wait=1, post=2)
        pops = step.operation.timing(machine, step.fields).pops
        low = draw(st.integers(-256, 100))
        act = make("ACT", slot=draw(st.integers(0, 3)), fold=draw(st.integers(0, 3)), sum=draw(st.integers(0, 8)),
                   rows=draw(st.integers(1, 8)), wide=draw(bits), buffer=1, row=draw(st.integers(0, 8)), low=low,
                   high=draw(st.integers(low, 255)), curve=draw(st.integers(0, 2)))  # fmt: skip
        out = make("STA", buffer=1, row=draw(st.integers(0, 8)), rows=draw(st.integers(1, 2)), wide=draw(bits))
        code += [
            make("LDA", buffer=0, row=draw(st.integers(0, 3)), rows=draw(st.integers(1, 8))).with_tokens(post=1),
            make("LDW", rows=pops, format=draw(st.integers(0, 2)), address=draw(st.integers(0, 20))),
            step, act.with_tokens(wait=2, post=4), out.with_tokens(wait=4), make("SYNC"),
        ]  # fmt: skip
        if draw(st.booleans()):
            code.append(make("SWAP"))
    code.append(make("LOOP", length=len(code), count=draw(st.integers(1, 3))))
    return program(*code, make("HALT"), machine=machine, seed=draw(st.integers(0, 9)))


def same(hardware: Built, made: Program) -> bool:
    """Whether anything but zeros came out, after outputs and cycles were found to be the same."""
    units = sum(port.units for port in made.inputs)
    inputs = np.random.default_rng(len(made.code)).integers(-128, 128, (made.rows, units))
    said, found = simulate(made, inputs), hardware.run(made, inputs)
    assert found.cycles == said.cycles
    assert found.activity == said.activity
    assert np.array_equal(found.outputs, said.outputs)
    return bool(said.outputs.any())


def test_random_programs(hardware: Built) -> None:
    """Programs that the checker refuses may do anything; at least a third of the others must store something."""
    seen: list[bool] = []

    @seed(PROGRAMS)
    @settings(max_examples=PROGRAMS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(running(hardware.machine), flowing(hardware.machine), flowing(hardware.machine)))
    def each(made: Program) -> None:
        if not check(made):
            seen.append(same(hardware, made))

    each()
    assert len(seen) >= PROGRAMS // 3
    assert sum(seen) >= len(seen) // 3


@pytest.mark.parametrize("tool", ["verilator", "icarus"])
def test_nets(tool: str, tmp_path: Path) -> None:
    needs(tool)
    machine = Machine(lanes=8, memory_bytes=4, weight_bytes=4, table_rows=1 << 10)
    hardware = build(machine, tool, tmp_path)
    for graph in (chain(256, 64, 32, 16), chain(100, 30, 20, 10), rich(Call("relu")), rich(Call("tanh"))):
        for kind in ("i8", "i4", "t2"):
            net = integer_network(*quantized(graph, 3, kind))
            assert same(hardware, lower(net, machine, 3))
    for graph in (recurrent(cell("rnn", STRUCTURES["ring"]), units=32, behind=(Call("relu"),)),
                  recurrent(cell("linear", STRUCTURES["paths"]), skip=True, dense=True)):  # fmt: skip
        made = quantize(graph, random_weights(graph), data=np.ones((1, 2, graph.inputs[0].units)))
        assert same(hardware, lower(integer_network(made.graph, made.tensors), machine, 3, 21))


def probes(machine: Machine) -> list[Program]:
    """Programs that look at one thing each: a slot used as soon as it is filled, sums in a row, ties, queues."""
    act = make("ACT", rows=2, wait=2, post=4, low=-128, high=127)
    filled = [make("LDA", rows=8, post=17), make("LDW", rows=8), make("PATH", steps=8, wait=9, post=2),
              make("CFG", words=6, wait=16, post=8), make("STA", rows=2, wide=1, wait=2), make("HALT")]  # fmt: skip
    dense = [make("LDA", rows=4, post=1), make("LDW", rows=16), make("DENSE", rows=4, bits=2, wait=1, post=2), act,
             make("STA", rows=2, wait=4), make("HALT")]  # fmt: skip
    bands = [make("LDA", rows=8, post=1), make("LDW", rows=18), make("BAND", rows=3, first=-3, diagonals=6, wait=1,
             post=2), make("ACT", rows=3, wait=2, post=4, low=-128, high=127, curve=1), make("STA", rows=2, wait=4),
             make("HALT")]  # fmt: skip
    queues = [*[make("LDA", rows=4)] * 4, make("LDW", rows=16), make("HALT")]
    made = [program(*code, machine=machine, seed=n) for code in (filled, dense, bands, queues) for n in (0, 1)]
    halves = program(*dense, machine=machine)
    halves.parameters[..., 1:3], halves.parameters[..., 3] = 1, 1
    return [*made, halves]


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("pe_engine", "", ""),
        ("pe_execute", "FORWARDING && x2_valid", "0 && x2_valid"),
        ("pe_execute", "assign done = drain[1];", "assign done = drain[0];"),
        ("pe_activate", "up = shifted[0] && (beyond != 0 || shifted[1])", "up = shifted[0]"),
        ("pe_activate", "curve_number, clamped", "curve, clamped"),
        ("pe_execute", "band ? side : 2'd0", "2'd0"),
        ("pe_execute", "(last_row ? first_side : side) + wraps", "side + wraps"),
        ("pe_execute", "still[m] = value == 0", "still[m] = value[1:0] == 0"),
        ("pe_execute", "adding == resting", "resting != 0"),
        ("pe_load", "pause <= LATENCY + INTERVAL - 1", "pause <= LATENCY + INTERVAL"),
        ("pe_queue", "assign full = count == ALL", "assign full = count == ALL - 1"),
        ("pe_dispatch", "write && number == first ? next", "0 ? next"),
    ],
)
def test_a_fault_in_the_hardware_is_noticed(
    file: str, right: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a fault the programs run alike, with any of these one of them does not."""
    needs("icarus")
    text = emit.module_text
    assert right in text(file)
    monkeypatch.setattr(
        emit, "module_text", lambda n: text(n).replace(right, wrong) if n == file and right else text(n)
    )
    hardware = build(replace(ROOMY, queue=2), "icarus", tmp_path)
    found: list[bool] = []
    for each in probes(hardware.machine):
        inputs = np.random.default_rng(1).integers(-128, 128, (1, sum(port.units for port in each.inputs)))
        inputs[0, ::3] = 0
        said, done = simulate(each, inputs), hardware.run(each, inputs)
        same_count = (done.cycles, done.activity) == (said.cycles, said.activity)
        found.append(same_count and np.array_equal(done.outputs, said.outputs))
    assert all(found) == (right == "")


def test_the_command_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needs("icarus")
    monkeypatch.chdir(tmp_path)
    model = "pathc 1\nmodel m\ninput x[16]\nlayer h[8] : relu\noutput y[4]\npaths p : x -> h -> y { count = 32 }\n"
    (tmp_path / "m.path").write_text(model)
    target = "engine{lanes=4, table_rows=64}"
    assert main(["compile", "m.path", "-t", target, "-o", "m.pe"]) == 0
    assert main(["dump", "m.path", "-t", target, "--emit", "verilog", "-o", "engine.v"]) == 0
    assert "module pe_engine" in (tmp_path / "engine.v").read_text()
    np.save("x.npy", np.random.default_rng(0).random((1, 16)))
    assert main(["sim", "m.pe", "--input", "x.npy", "--rtl", "icarus"]) == 0
    assert "the same outputs after the same" in capsys.readouterr().err
    assert main(["sim", "m.pe", "--rtl", "verilog"]) == 1
    assert "E1062" in capsys.readouterr().err


def test_what_cannot_be_built_or_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay.shutil, "which", lambda name: None)
    with pytest.raises(PathcError, match="E1063"):
        build(SMALL, "icarus", tmp_path)
    monkeypatch.undo()
    needs("icarus")
    hardware = build(SMALL, "icarus", tmp_path)
    with pytest.raises(PathcError, match="E1060"):
        hardware.run(program(make("HALT"), machine=ROOMY), np.zeros((1, 32), np.int64))
    monkeypatch.setitem(replay.OUTSIDE, "weights", 8)
    with pytest.raises(PathcError, match="E1060"):
        hardware.run(program(make("HALT")), np.zeros((1, 32), np.int64))
    monkeypatch.undo()
    monkeypatch.setattr(replay, "engine_text", lambda machine: "module (")
    with pytest.raises(PathcError, match="E1061"), built(SMALL, "icarus"):
        pass
