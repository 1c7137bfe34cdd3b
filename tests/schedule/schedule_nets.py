"""Small nets for the tests of schedules."""

from __future__ import annotations

from pathc.ir.graph import Graph, Line, Station, Visit
from pathc.ir.types import Call, Word

PLAIN = Call("sobol")


def net(sizes, dims, count, generator=PLAIN):
    roles = ["input", *["layer"] * (len(sizes) - 2), "output"]
    stations = tuple(Station(f"s{i}", role, (n,)) for i, (role, n) in enumerate(zip(roles, sizes, strict=True)))
    return Graph(
        "net",
        stations,
        (Line("main", "paths", tuple(Visit(f"s{i}", d) for i, d in enumerate(dims)), count, generator),),
    )


def sobol(scramble, seed=0):
    return Call("sobol", (("scramble", Word(scramble)), ("seed", seed)))
