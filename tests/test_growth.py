"""Large models take steps in proportion to their size: no search through all of a model for each of its parts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from pathc import driver
from pathc.support.source import Source

FEW, MANY = 50, 250
WORST = 1.03
"""Times as many steps per line as a small model takes; with the square of the lines it would be up to MANY / FEW."""


def side_by_side(n: int) -> str:
    lines = "".join(f"paths p{i} : x -> y {{ count = 4 }}\n" for i in range(n))
    return f"pathc 1\ninput x[4]\noutput y[4]\n{lines}"


def one_after_the_other(n: int) -> str:
    stations = "".join(f"layer s{i}[4]\n" for i in range(1, n))
    lines = "".join(f"paths p{i} : s{i} -> s{i + 1} {{ count = 4 }}\n" for i in range(n))
    return f"pathc 1\ninput s0[4]\n{stations}output s{n}[4]\n{lines}"


def one_long_line(n: int) -> str:
    stations = "".join(f"layer s{i}[4]\n" for i in range(1, n))
    visits = " -> ".join(f"s{i}@{i % 5}" for i in range(n + 1))
    return f"pathc 1\ninput s0[4]\n{stations}output s{n}[4]\npaths p : {visits} {{ count = 4 }}\n"


def biased(n: int) -> str:
    return one_after_the_other(n).replace("[4]\n", "[4] : bias | relu\n").replace("[4] : bias | relu\n", "[4]\n", 1)


def skips(n: int) -> str:
    more = "".join(f"skip k{i} : s{i} -> s{i + 1}\n" for i in range(n))
    return one_after_the_other(n) + more


def check(source: Source) -> None:
    driver.check(source)


def prepare(source: Source) -> None:
    graph = driver.transform(driver.load(source))
    driver.weights_of(graph, None)


def layout(source: Source) -> None:
    driver.formatted(source)


def steps(work: Callable[[Source], None], text: str) -> int:
    """Lines of Python executed, every turn of a loop counted: the same number on any machine, however busy."""
    count = 0

    def tracer(_frame: FrameType, _event: str, _argument: object) -> Any:
        nonlocal count
        count += 1
        return tracer

    source, before = Source("m.path", text), sys.gettrace()
    sys.settrace(tracer)
    try:
        work(source)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("text", [side_by_side, one_after_the_other, one_long_line, biased, skips])
@pytest.mark.parametrize("work", [check, prepare, layout])
def test_steps_grow_with_the_size(work: Callable[[Source], None], text: Callable[[int], str]) -> None:
    work(Source("m.path", text(2)))
    assert steps(work, text(MANY)) / MANY < WORST * steps(work, text(FEW)) / FEW


def test_a_search_in_every_line_would_be_seen() -> None:
    def search(source: Source) -> None:
        names = source.text.split()
        for name in names:
            next(other for other in reversed(names) if other == name)

    assert steps(search, side_by_side(MANY)) / MANY > WORST * steps(search, side_by_side(FEW)) / FEW
