"""Junctions side by side on different inputs: the same outputs, in the time of the slowest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from engine_nets import chain, quantized, rich
from engine_programs import make, program

from pathc.backends.engine.lower import lower
from pathc.backends.engine.machine import Machine
from pathc.backends.engine.sim import simulate
from pathc.backends.engine.sim.pipeline import pipeline_json, pipeline_report, pipelined
from pathc.cli import main
from pathc.ir.quantized import integer_network
from pathc.ir.types import Call
from pathc.support.diagnostics import PathcError


@pytest.mark.parametrize("lanes", [4, 16])
@pytest.mark.parametrize("graph", [chain(256, 64, 32, 16), chain(300, 100, 30, 20, 10), rich(Call("relu"))])
def test_throughput_is_that_of_the_slowest_junction(graph, lanes: int) -> None:
    net = integer_network(*quantized(graph, 3))
    made = lower(net, Machine(lanes=lanes), 1)
    inputs = np.random.default_rng(0).integers(-100, 100, (9, sum(port.units for port in made.inputs)))
    done = pipelined(made, inputs)
    alone = [simulate(made, inputs[n : n + 1]) for n in range(len(inputs))]
    assert np.array_equal(done.outputs, np.concatenate([run.outputs for run in alone]))
    slowest = max(stage.cycles for stage in done.stages)
    assert done.interval == slowest
    assert done.cycles <= sum(stage.cycles for stage in done.stages) + slowest * (len(inputs) - 1)
    assert done.alone == alone[0].cycles
    for earlier, later in zip(done.ends[:-1], done.starts[1:], strict=True):
        assert (later > earlier).all()
    assert (done.starts[:, 1:] > done.ends[:, :-1]).all()
    record = pipeline_json(done)
    assert record["interval"] == slowest
    assert f"{slowest:,} cycles" in pipeline_report(done)


def test_loops_and_several_samples_are_refused() -> None:
    units = 32
    with pytest.raises(PathcError, match="E1071"):
        pipelined(program(make("LDA", rows=1), make("LOOP", count=2), make("HALT")), np.zeros((2, units), np.int64))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    model = "pathc 1\nmodel m\ninput x[64]\nlayer h[32] : relu\noutput y[16]\npaths p : x -> h -> y { count = 256 }\n"
    (tmp_path / "m.path").write_text(model)
    assert main(["compile", "m.path", "-t", "engine{dim=16}", "-o", "m.pe"]) == 0
    np.save("x.npy", np.random.default_rng(0).random((5, 64)))
    assert main(["sim", "m.pe", "--input", "x.npy", "--pipeline", "--json", "-o", "y.npy"]) == 0
    assert json.loads(capsys.readouterr().out)["inputs"] == 5
    assert np.load("y.npy").shape == (5, 16)
    assert main(["run", "m.path", "-t", "engine", "--input", "x.npy", "-o", "z.npy"]) == 0
    assert np.array_equal(np.load("y.npy"), np.load("z.npy"))
    assert main(["sim", "m.pe", "--pipeline"]) == 0
    assert "8 inputs" in capsys.readouterr().out
    for kind, shown in (("array", "regret"), ("engine", "taken:"), ("gemmini", "compute_preloaded")):
        assert main(["dump", "m.path", "-t", "engine{dim=16}", "--emit", kind]) == 0
        assert shown in capsys.readouterr().out
