import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedule_strategies import schedules

from pathc.ir.schedule import Banks, Schedule, check
from pathc.support.diagnostics import PathcError


def brute_force(schedule, writes):
    banks = [schedule.source_banks, schedule.destination_banks]
    units = [schedule.sources.tolist(), schedule.destinations.tolist()]
    bank_of = [[int(b.bank(np.array([u]))[0]) for u in us] for b, us in zip(banks, units, strict=True)]
    clashes, stalls, visits, last, distances = [0, 0], 0, [0] * schedule.paths, {}, []
    for cycle, lanes in enumerate(schedule.lanes.tolist()):
        busy = [path for path in lanes if path >= 0]
        worst = 1
        for end in (0, 1):
            asked = [bank_of[end][path] for path in busy]
            clashes[end] += len(asked) - len(set(asked))
            if asked and (end == 0 or writes):
                worst = max(worst, *(asked.count(bank) for bank in asked))
        stalls += worst - 1
        for path in busy:
            visits[path] += 1
        for unit in {units[1][path] for path in busy}:
            if unit in last:
                distances.append(cycle - last[unit])
            last[unit] = cycle
    return (
        visits.count(0), sum(max(n - 1, 0) for n in visits), *clashes, stalls, min(distances, default=0)
    )  # fmt: skip


@given(schedules(), st.booleans())
def test_verdict_is_that_of_brute_force(schedule, writes):
    v = check(schedule, writes=writes)
    found = v.missing, v.repeated, v.source_clashes, v.destination_clashes, v.stalls, v.rmw_distance
    assert found == brute_force(schedule, writes)
    assert v.time == schedule.cycles + v.stalls
    assert v.complete == (sorted(schedule.issued().tolist()) == list(range(schedule.paths)))


def test_derived_arrays():
    lanes = np.array([[0, 2, -1], [1, -1, -1]])
    schedule = Schedule(lanes, np.array([0, 3, 6]), np.array([1, 0, 1]), Banks(8, 4), Banks(2, 2))
    assert schedule.source_units().tolist() == [[0, 6, -1], [3, -1, -1]]
    assert schedule.source_bank().tolist() == [[0, 3, -1], [1, -1, -1]]
    assert schedule.source_row().tolist() == [[0, 0, -1], [1, -1, -1]]
    assert schedule.destination_units().tolist() == [[1, 1, -1], [0, -1, -1]]
    assert schedule.destination_bank().tolist() == [[1, 1, -1], [0, -1, -1]]
    assert schedule.destination_row().tolist() == [[0, 0, -1], [0, -1, -1]]
    assert schedule.issued().tolist() == [0, 2, 1]
    verdict = check(schedule)
    assert (verdict.source_clashes, verdict.destination_clashes, verdict.stalls) == (0, 1, 1)
    assert verdict.utilisation == pytest.approx(3 / 9)


def test_schedules_do_not_change():
    lanes = np.array([[0]])
    schedule = Schedule(lanes, np.array([0]), np.array([0]), Banks(1, 1), Banks(1, 1))
    lanes[0, 0] = -1
    assert schedule.lanes.tolist() == [[0]]
    with pytest.raises(ValueError):
        schedule.lanes[0, 0] = -1
    assert schedule == Schedule(schedule.lanes, schedule.sources, schedule.destinations, Banks(1, 1), Banks(1, 1))
    assert schedule != Schedule(lanes, schedule.sources, schedule.destinations, Banks(1, 1), Banks(1, 1))


@pytest.mark.parametrize(
    ("lanes", "sources", "destinations"),
    [
        ([0], [0], [0]),
        ([[]], [0], [0]),
        ([[1]], [0], [0]),
        ([[-2]], [0], [0]),
        ([[0.5]], [0], [0]),
        ([[0]], [4], [0]),
        ([[0]], [0], [-1]),
        ([[0]], [0], [0, 0]),
        ([[-1]], [], []),
    ],
)
def test_arrays_that_are_no_schedule(lanes, sources, destinations):
    with pytest.raises(PathcError, match="E0357"):
        Schedule(np.array(lanes), np.array(sources), np.array(destinations), Banks(4, 2), Banks(4, 2))
