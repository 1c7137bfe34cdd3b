"""Learning rates over time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathc.support.diagnostics import UsageError
from pathc.train.schedules import NAMES, Cosine, Step, parse_schedule, rate


@pytest.mark.parametrize(
    ("text", "factors"),
    [
        ("constant", (1, 1, 1)),
        ("cosine", (1, 0.5, 0)),
        ("cosine{least=0.2}", (1, 0.6, 0.2)),
        ("linear", (1, 0.5, 0)),
        ("linear{least=0.5}", (1, 0.75, 0.5)),
        ("step", (1, 0.1, 0.001)),
        ("step{every=5,times=0.5}", (1, 0.5, 0.25)),
    ],
)
def test_factors(text: str, factors: tuple[float, ...]) -> None:
    schedule = parse_schedule(text)
    assert [schedule.factor(e, 10) for e in (0, 5, 10)] == pytest.approx(factors)


@given(st.sampled_from(NAMES), st.floats(0, 100), st.floats(0.1, 100))
def test_factors_stay_in_bounds(name: str, epoch: float, epochs: float) -> None:
    assert 0 <= parse_schedule(name).factor(epoch, epochs) <= 1


def test_warm_up_rises_and_meets_the_schedule() -> None:
    rates = [rate(Cosine(), 0.1, e, 10, 2) for e in (0, 1, 2, 6, 10)]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.05, 0])
    assert rate(Step(2, 0.5), 1, 3.9, 10, 2) == 1


@pytest.mark.parametrize(
    "text",
    ["", "cosin", "cosine{", "cosine{least=2}", "cosine{most=1}", "step{every=0}", "step{times=nan}", "step{every=x}"],
)
def test_unreadable(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_schedule(text)
    assert [d.code for d in caught.value.diagnostics] == ["E0910"]
