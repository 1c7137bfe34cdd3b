"""Small nets for the tests of the passes."""

from __future__ import annotations

from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.types import Call, Word

PLAIN = Call("sobol")


def net(sizes, dims, count, generator=PLAIN):
    stations = tuple(
        Station(f"s{i}", "input" if i == 0 else "output" if i == len(sizes) - 1 else "layer", (n,))
        for i, n in enumerate(sizes)
    )
    visits = tuple(Visit(f"s{i}", d) for i, d in enumerate(dims))
    return Graph("net", stations, (Line("main", "paths", visits, count, generator),))


def sobol(scramble, seed=0, skip=0):
    return Call("sobol", (("scramble", Word(scramble)), ("seed", seed), ("skip", skip)))
