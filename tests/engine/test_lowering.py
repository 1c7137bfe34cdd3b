"""Programs compute what the integer interpreter computes, bit for bit, and accept the static checker's verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine_nets import chain, quantized, rich
from hypothesis import given, settings
from hypothesis import strategies as st

from pathc.backends.engine.check import check
from pathc.backends.engine.files import from_bytes, to_bytes
from pathc.backends.engine.isa import Unit
from pathc.backends.engine.lower import lower
from pathc.backends.engine.machine import Machine
from pathc.backends.engine.program import Program
from pathc.backends.engine.sim import Run, simulate
from pathc.backends.engine.sim.functional import execute
from pathc.backends.engine.sim.report import report, report_json
from pathc.ir.facts import Order
from pathc.ir.generators import resolve
from pathc.ir.graph import Graph
from pathc.ir.passes import parse_pipeline
from pathc.ir.pipeline import run_passes
from pathc.ir.quantized import evaluate_integers, integer_network, quantize_inputs
from pathc.ir.types import Call, Word
from pathc.support.diagnostics import PathcError

SCRAMBLES = ["shift", "lms", "owen"]
USUAL = Machine()


def compiled(graph: Graph, machine: Machine = USUAL) -> Program:
    return from_bytes(to_bytes(lower(integer_network(*quantized(graph, 1)), machine)))


def assert_exact(graph: Graph, machine: Machine, samples: int = 1, seed: int = 1, **kind: str) -> Run:
    """Compile, check, simulate, compare with the integer interpreter; the run."""
    network = integer_network(*quantized(graph, seed, **kind))
    program = from_bytes(to_bytes(lower(network, machine, samples)))
    assert check(program) == []
    units = sum(station.real_units for station in graph.inputs)
    values = np.random.default_rng(seed).normal(0, 3, (samples, units))
    values[0, :2] = (np.inf, -0.0)[: values.shape[1]]
    rows, _ = quantize_inputs(network, values)
    trace = evaluate_integers(network, rows)
    expected = [trace.values[station.name][:, : station.real_units] for station in graph.outputs]
    run = simulate(program, program.quantized(values))
    assert program.integers(run.outputs).tolist() == np.concatenate(expected, axis=1).tolist()
    assert np.array_equal(execute(program, program.quantized(values)), run.outputs)
    return run


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_random_chains_are_exact(data: st.DataObject) -> None:
    powers = data.draw(st.booleans())
    size = st.sampled_from([1, 2, 4, 8, 16, 32, 64]) if powers else st.integers(1, 70)
    sizes = data.draw(st.lists(size, min_size=2, max_size=4))
    generator = Call(data.draw(st.sampled_from(["sobol", "random"])))
    if generator.name == "sobol" and data.draw(st.booleans()):
        generator = Call("sobol", (("scramble", Word(data.draw(st.sampled_from(SCRAMBLES)))),))
    graph = chain(data.draw(st.integers(1, 400)), *sizes, generator=generator)
    lanes, forwarding = data.draw(st.sampled_from([4, 8, 16, 32])), data.draw(st.integers(0, 1))
    fifo, bytes_ = data.draw(st.sampled_from([2, 16])), data.draw(st.sampled_from([1, 16]))
    machine = Machine(lanes=lanes, forwarding=forwarding, fifo=fifo, weight_bytes=bytes_)
    kind = data.draw(st.sampled_from(["i8", "i4", "t2"]))
    assert_exact(graph, machine, data.draw(st.integers(1, 4)), data.draw(st.integers(0, 50)), kind=kind)


@pytest.mark.parametrize("activation", ["relu", "leaky", "abs", "hardtanh", "tanh", "sigmoid"])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("lanes", [4, 16])
def test_rich_nets_are_exact(activation: str, samples: int, lanes: int) -> None:
    """Padded stations, a mirror, a dense line, a skip, two outputs of which one is given as sums."""
    assert_exact(rich(Call(activation)), Machine(lanes=lanes), samples, per="unit")


@pytest.mark.parametrize("paths", [1 << 7, 1 << 12, 1 << 17])
def test_a_sobol_junction_is_four_instructions_whatever_its_paths(paths: int) -> None:
    program = compiled(chain(paths, 256, 64))
    assert [each.name for each in program.code] == ["CFG", "LDA", "LDW", "PATH", "ACT", "STA", "HALT"]
    assert len(program.tables) == 0


def test_fewer_units_than_lanes_are_folded() -> None:
    run = assert_exact(chain(8192, 1024, 64, 16), Machine(lanes=64, weight_bytes=64, memory_bytes=64))
    assert [each.name for each in run.program.code].count("PATH") == 2
    assert run.program.code[-3].fields["fold"] == 2


def test_lanes_are_used_as_promised() -> None:
    wide = Machine(lanes=64, weight_bytes=64, memory_bytes=64)
    assert assert_exact(chain(16384, 1024, 64, 16), wide, 16).utilisation > 0.97
    (span,) = assert_exact(chain(4096, 784, 300), Machine()).of(Unit.EX)
    assert span.busy == 260
    assert 4096 / (16 * span.busy) > 0.98
    assert span.end - span.start + 1 == 260 + 4


def test_zeros_take_their_cycles_and_are_counted() -> None:
    """Against the interpreter: of the products of random paths, those whose source is zero; cycles are the same."""
    graph = chain(700, 40, 30, 20, generator=Call("random"))
    network = integer_network(*quantized(graph, 1))
    program = lower(network, Machine())
    values = np.random.default_rng(0).normal(0, 3, (1, 40)) * (np.arange(40) % 3 > 0)
    trace = evaluate_integers(network, quantize_inputs(network, values)[0])
    run, silent = simulate(program, program.quantized(values)), 0
    for name, into in network.into.items():
        for one in into:
            sources = resolve(graph.line("main"), graph).units(int(name[1]) - 1, 0, 700)
            silent += int((trace.values[one.junction.source][0, sources] == 0).sum())
    assert (run.activity.products, run.activity.silent) == (1400, silent)
    assert 0 < silent < 1400
    assert sum(span.activity.silent for span in run.of(Unit.EX)) == silent
    still = simulate(program, np.zeros((1, 40), np.int64))
    assert still.cycles == run.cycles
    first = still.of(Unit.EX)[0].activity
    assert (first.silent, first.empty) == (first.products, first.steps)
    assert first.products == 700
    assert "have a source of zero" in report(still)
    assert report_json(still)["activity"]["silent"] == still.activity.silent


def test_order_of_steps_spares_adders_without_forwarding() -> None:
    graph = chain(4096, 256, 256)
    found = assert_exact(graph, Machine(forwarding=0))
    assert found.accounts[Unit.EX].stall_raw == 0


def test_clashing_blocks_are_counted_as_such() -> None:
    graph = run_passes(chain(4096, 784, 300), parse_pipeline("interleave{kind=stall,z=16}"))
    (order,) = graph.facts_of(Order)
    facts = graph.facts
    quantized_graph, tensors = quantized(graph, 1)
    network = integer_network(replace(quantized_graph, facts=(*quantized_graph.facts, *facts)), tensors)
    program = lower(network, Machine())
    run = simulate(program, np.ones((1, 784), np.int64))
    account = run.accounts[Unit.EX]
    assert (account.busy, account.busy + account.stall_bank) == (256, order.cycles + order.stalls)


def winners(graph: Graph) -> Graph:
    first, last = graph.stations
    return replace(graph, stations=(first, replace(last, pipeline=(Call("kwinners", (("k", 2),)),))))


@pytest.mark.parametrize(
    ("graph", "machine", "code"),
    [
        (chain(64, 16, 16, activation="tanh"), Machine(curves=0), "E1051"),
        (winners(chain(64, 16, 16)), Machine(), "E1050"),
        (chain(64, 4096, 16), Machine(activation_rows=8), "E1051"),
        (chain(4096, 784, 300), Machine(table_rows=100), "E1051"),
        (chain(64, 16, 16), Machine(program_words=4), "E1051"),
        (chain(4096, 16, 16), Machine(accumulator_bits=24), ""),
    ],
)
def test_what_does_not_fit_is_refused(graph: Graph, machine: Machine, code: str) -> None:
    try:
        compiled(graph, machine)
    except PathcError as refused:
        found = refused.diagnostics[0].code
    else:
        found = ""
    assert found == code
