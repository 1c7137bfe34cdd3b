"""Cycles, dead-locks and races: hand-made programs by the rules of docs/engine.md, random ones against the checker."""

from __future__ import annotations

import json
from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest
from engine_programs import SMALL, make, program, running
from hypothesis import given, settings

from pathc.backends.engine.check import check
from pathc.backends.engine.isa import Unit
from pathc.backends.engine.machine import Machine
from pathc.backends.engine.program import Program
from pathc.backends.engine.sim import Run, simulate
from pathc.backends.engine.sim.functional import execute
from pathc.backends.engine.sim.report import report, report_json
from pathc.backends.engine.sim.trace import perfetto, vcd
from pathc.support.diagnostics import PathcError


def run(made: Program) -> Run:
    units = sum(port.units for port in made.inputs)
    return simulate(made, np.arange(units)[None, :] % 100)


def spans(made: Program, unit: Unit) -> list[tuple[int, int]]:
    return [(span.start, span.end) for span in run(made).of(unit)]


def test_cycles_of_a_chain_by_hand() -> None:
    """Dispatch in cycle n, start in n + 1; a token that is given in cycle e starts its taker in e + 1."""
    made = program(make("LDA", rows=2, post=1), make("LDW", rows=4), make("PATH", steps=4, wait=1, post=2),
                   make("ACT", rows=2, wait=2, post=4), make("STA", rows=2, wait=4), make("HALT"))  # fmt: skip
    loaded = 1 + SMALL.memory_latency + 2
    assert spans(made, Unit.LD) == [(1, loaded)]
    assert spans(made, Unit.WS) == [(2, 2 + SMALL.weight_latency + 4)]
    first = loaded + 1
    assert spans(made, Unit.EX) == [(first, first + 4 + 2)]
    first += 7
    assert spans(made, Unit.PP) == [(first, first + 2 + 2)]
    assert spans(made, Unit.ST) == [(first + 5, first + 5 + 2 + SMALL.memory_latency)]
    assert run(made).cycles == first + 5 + 2 + SMALL.memory_latency + 2


def test_a_step_waits_for_its_weights() -> None:
    """Rows are pushed in cycles 6 to 9, each is taken in the next one, and the first step could be in 3."""
    made = program(make("LDW", rows=4), make("PATH", steps=4), make("HALT"))
    (span,) = run(made).of(Unit.EX)
    assert (span.start, span.end, span.stall_weight) == (2, 7 + 3 + 2, 4)


def test_a_slow_streamer_stalls_every_step() -> None:
    """Rows are pushed in cycles 9, 13, 17, 21; without them steps would be in 3, 4, 5, 6."""
    slow = replace(SMALL, weight_bytes=1)
    (span,) = run(program(make("LDW", rows=4), make("PATH", steps=4), make("HALT"), machine=slow)).of(Unit.EX)
    assert (span.stall_weight, span.busy) == (22 - 6, 4)


def test_the_fifo_holds_so_many_rows_and_no_more() -> None:
    narrow = replace(SMALL, fifo=2)
    made = program(make("LDW", rows=4, wait=0), make("LDA", rows=8, post=1), make("PATH", steps=4, wait=1),
                   make("HALT"), machine=narrow)  # fmt: skip
    (pushing,), (taking,) = run(made).of(Unit.WS), run(made).of(Unit.EX)
    assert pushing.end == taking.start + 1 + 1 + 1
    assert pushing.stall_weight > 0


@pytest.mark.parametrize(("forwarding", "stalls"), [(1, 0), (0, 3)])
def test_visits_of_the_same_sum_one_after_the_other(forwarding: int, stalls: int) -> None:
    machine = replace(SMALL, forwarding=forwarding)
    made = program(make("LDW", rows=4), make("LDA", rows=8, post=1), make("PATH", steps=4, wait=1), make("HALT"),
                   machine=machine)  # fmt: skip
    (span,) = run(made).of(Unit.EX)
    assert (span.stall_raw, span.end - span.start) == (stalls, 4 + 2 + stalls)


def test_queues_hold_the_dispatcher_back() -> None:
    short = replace(SMALL, queue=1)
    made = program(*[make("LDA", rows=4)] * 3, make("HALT"), machine=short)
    length = SMALL.memory_latency + 4 + 1
    found = run(made).of(Unit.LD)
    assert [span.start for span in found] == [1, 1 + length, 1 + 2 * length]
    assert [span.queued for span in found] == [0, 2, 2 + length]


def test_loops_swaps_and_settings_take_the_dispatchers_time() -> None:
    made = program(make("CFG", words=6), make("SWAP"), make("LOOP", length=1, count=3), make("HALT"))
    assert run(made).cycles == 6 + 3 * 2 + 1
    found = [(span.number, span.start) for span in run(made).of(Unit.CTL)]
    assert found == [(0, 0), (1, 6), (2, 7), (1, 8), (2, 9), (1, 10), (2, 11), (3, 12)]


@settings(deadline=None, max_examples=150)
@given(running())
def test_checker_and_simulator_agree(made: Program) -> None:
    said = [d.code for d in check(made)]
    try:
        found = run(made)
    except PathcError as refused:
        codes = [d.code for d in refused.diagnostics]
    else:
        codes = []
        assert all(sum(getattr(a, n) for n in REASONS) == found.cycles for a in found.accounts.values())
    assert ("E1040" in said) == ("E1040" in codes)
    if not said:
        assert codes == []


REASONS = ("busy", "stall_weight", "stall_bank", "stall_raw", "stall_token", "idle")
OTHERS = [
    replace(SMALL, memory_latency=40, weight_bytes=1),
    replace(SMALL, memory_bytes=1, forwarding=0, fifo=16),
    replace(SMALL, weight_latency=60, memory_latency=0),
]


@settings(deadline=None, max_examples=100)
@given(running())
def test_what_the_checker_accepts_does_not_depend_on_speed(made: Program) -> None:
    if check(made):
        return
    outputs = run(made).outputs
    for machine in OTHERS:
        assert np.array_equal(run(replace(made, machine=machine)).outputs, outputs)


def test_races_are_found_and_tokens_heal_them() -> None:
    racing = program(make("LDW", rows=2), make("PATH", steps=2), make("ACT", buffer=1), make("HALT"))
    assert [d.code for d in check(racing)] == ["E1041"]
    assert "sums" in check(racing)[0].message
    healed = program(make("LDW", rows=2), make("PATH", steps=2, post=1), make("ACT", rows=1, wait=1), make("HALT"))
    assert check(healed) == []
    writers = program(make("LDA", row=0), make("ACT", row=4), make("HALT"))
    assert [d.code for d in check(writers)] == ["E1041"]


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ([make("LDA", wait=1)], "LDA"),
        ([make("PATH", steps=3), make("LDW", rows=2)], "3 rows of weights"),
        ([make("LDW", rows=40)], "room"),
        ([make("LDA", wait=1, post=2), make("STA", wait=2, post=1)], "LDA"),
        ([make("PATH", wait=1), *[make("PATH")] * 5, make("LDW", rows=6, post=1)], "not reached"),
    ],
)
def test_dead_locks_are_named(code: list, names: str) -> None:
    made = program(*code, make("HALT"))
    (said,) = check(made)
    assert said.code == "E1040"
    assert names in said.message
    with pytest.raises(PathcError, match="E1040"):
        run(made)


@pytest.mark.parametrize(
    ("code", "refused"),
    [
        ([], "E1043"), ([make("HALT"), make("HALT")], "E1043"), ([make("LOOP"), make("HALT")], "E1043"),
        ([make("SWAP"), make("LOOP"), make("LOOP", length=2), make("HALT")], "E1043"),
        ([make("SWAP"), *[make("LOOP", count=65535)], make("LOOP", count=9), make("HALT")], "E1043"),
        ([make("PATH", steps=(1 << 24) - 1, hold=15), make("HALT")], "E1044"),
        ([*[make("SWAP")] * 9, make("LOOP", length=9, count=65535), make("HALT")], "E1044"),
        ([make("LDA", post=1), make("ACT", post=1), make("HALT")], "E1042"),
        ([make("LDA", row=7, rows=3), make("HALT")], "E1011"),
        ([make("PATH", source=9), make("LDW"), make("HALT")], "E1011"),
        ([make("LDW", address=1 << 31), make("HALT")], "E1011"),
    ],
)  # fmt: skip
def test_unsound_programs_are_refused_before_they_run(code: list, refused: str) -> None:
    made = program(*code)
    start = perf_counter()
    assert {d.code for d in check(made)} == {refused}
    assert perf_counter() - start < 20


def test_traces_and_reports_hold_the_run() -> None:
    made = program(make("LDA", rows=2, post=1), make("LDW", rows=4), make("PATH", steps=4, wait=1), make("HALT"))
    found = run(made)
    record = report_json(found)
    assert json.loads(json.dumps(record))["cycles"] == found.cycles
    assert f"{found.cycles} cycles" in report(found)
    events = [e for e in json.loads(perfetto(found))["traceEvents"] if e["ph"] == "X"]
    assert [(e["ts"], e["ts"] + e["dur"] - 1) for e in events] == [(s.start, s.end) for s in found.spans]
    wave = vcd(found).splitlines()
    assert wave[-1] == f"#{found.cycles}"
    times = [int(line[1:]) for line in wave if line.startswith("#")]
    assert times == sorted(times)


def test_values_do_not_need_cycles() -> None:
    made = program(make("CFG", words=6), make("LDA", rows=4, post=1), make("LDW", rows=4),
                   make("PATH", steps=4, wait=1, post=2), make("ACT", rows=2, wait=2, post=4, low=-128, high=127),
                   make("STA", rows=2, wait=4), make("HALT"), machine=Machine(lanes=8))  # fmt: skip
    inputs = np.arange(64)[None, :]
    assert np.array_equal(execute(made, inputs), simulate(made, inputs).outputs)
