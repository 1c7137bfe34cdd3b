"""Ways to draw paths; each maps (visit, path index) to a unit.

`resolve` turns a line of a graph into a `Generator`, `make` does the same from bare numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pathc.ir.generators.base import Affine, Generator, UnitArray
from pathc.ir.generators.checks import choice, integer
from pathc.ir.generators.random import Random
from pathc.ir.generators.sobol import SCRAMBLES, Sobol
from pathc.ir.graph import Graph, Line
from pathc.ir.types import Call
from pathc.support.diagnostics import Place, did_you_mean, error

__all__ = ["NAMES", "Affine", "Generator", "Request", "UnitArray", "make", "resolve"]


@dataclass(frozen=True)
class Request:
    """What a generator is asked for: its call with options, and dimension and size of every visit."""

    call: Call
    dims: tuple[int, ...]
    sizes: tuple[int, ...]
    count: int
    place: Place = None


def _sobol(r: Request) -> Generator:
    scramble = choice(r.call, "scramble", "none", SCRAMBLES, r.place)
    seed, skip = integer(r.call, "seed", 0, r.place), integer(r.call, "skip", 0, r.place)
    return Sobol(r.dims, r.sizes, r.count, scramble, seed, skip, r.place)


def _random(r: Request) -> Generator:
    return Random(r.dims, r.sizes, r.count, integer(r.call, "seed", 0, r.place), r.place)


_MAKERS: dict[str, Callable[[Request], Generator]] = {"sobol": _sobol, "random": _random}
NAMES = tuple(_MAKERS)


def make(call: Call, dims: tuple[int, ...], sizes: tuple[int, ...], count: int, place: Place = None) -> Generator:
    """The generator that `call` names, over visits of the given dimensions and sizes. Errors: E0340 to E0349."""
    maker = _MAKERS.get(call.name)
    if maker is None:
        raise error("E0340", f"no path generator is called `{call.name}`", place, help=did_you_mean(call.name, NAMES))
    return maker(Request(call, dims, sizes, count, place))


def resolve(line: Line, graph: Graph) -> Generator:
    """The paths of `line` over the stations of `graph`. Errors: as `make`."""
    dims = tuple(visit.dim for visit in line.visits)
    sizes = tuple(graph.station(visit.station).units for visit in line.visits)
    return make(line.generator, dims, sizes, line.count, line.loc)
