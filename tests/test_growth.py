"""Large models take time in proportion to their size: what grows with its square shows at a few thousand lines."""

from __future__ import annotations

import time

import pytest

from pathc import driver
from pathc.support.source import Source

FEW, MANY = 150, 1200
WORST = 2.5
"""Times as much time per line as a small model takes; with the square of the lines it would be up to MANY / FEW."""


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


def seconds(work, text: str) -> float:
    """The least of three, of processor time."""
    source, taken = Source("m.path", text), list[float]()
    for _ in range(3):
        start = time.process_time()
        work(source)
        taken.append(time.process_time() - start)
    return min(taken)


@pytest.mark.parametrize("text", [side_by_side, one_after_the_other, one_long_line, biased, skips])
@pytest.mark.parametrize("work", [check, prepare, layout])
def test_time_grows_with_the_size(work, text) -> None:
    work(Source("m.path", text(2)))
    few = seconds(work, text(FEW)) / FEW
    many = time.process_time()
    work(Source("m.path", text(MANY)))
    many = (time.process_time() - many) / MANY
    assert many < WORST * few
