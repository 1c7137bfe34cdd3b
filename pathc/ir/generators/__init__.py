"""Ways to draw paths; each maps (visit, path index) to a unit.

`resolve` turns a line of a graph into a `Generator`, `make` does the same from bare numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pathc.ir.generators.base import Affine, Generator, UnitArray
from pathc.ir.generators.checks import Options
from pathc.ir.generators.expander import Expander
from pathc.ir.generators.explicit import Explicit
from pathc.ir.generators.grid import Grid
from pathc.ir.generators.interleaver import Interleaver
from pathc.ir.generators.mirror import Mirror
from pathc.ir.generators.random import Random
from pathc.ir.generators.shuffle import Shuffle
from pathc.ir.generators.sobol import Sobol
from pathc.ir.graph import Graph, Line
from pathc.ir.types import Call
from pathc.support.diagnostics import Place, did_you_mean, error

__all__ = ["NAMES", "Affine", "Generator", "UnitArray", "make", "resolve"]


@dataclass(frozen=True)
class _Request:
    options: Options
    dims: tuple[int, ...]
    sizes: tuple[int, ...]
    count: int
    place: Place
    folder: Path


def _sobol(r: _Request) -> Generator:
    scramble, seed, skip = r.options.word("scramble"), r.options.integer("seed"), r.options.integer("skip")
    return Sobol(r.dims, r.sizes, r.count, scramble, seed, skip, r.place)


def _random(r: _Request) -> Generator:
    return Random(r.dims, r.sizes, r.count, r.options.integer("seed"), r.place)


def _interleaver(r: _Request) -> Generator:
    z, kind = r.options.integer("z"), r.options.word("kind")
    seed, dither = r.options.integer("seed"), r.options.flag("dither")
    return Interleaver(r.dims, r.sizes, r.count, z, kind, seed, dither, r.place)


def _shuffle(r: _Request) -> Generator:
    return Shuffle(r.dims, r.sizes, r.count, r.place)


def _expander(r: _Request) -> Generator:
    return Expander(r.dims, r.sizes, r.count, r.options.integer("seed"), r.place)


def _explicit(r: _Request) -> Generator:
    return Explicit(r.folder / r.options.text("file"), r.sizes, r.count, r.place, r.dims)


_MAKERS: dict[str, Callable[[_Request], Generator]] = {
    "sobol": _sobol,
    "random": _random,
    "interleaver": _interleaver,
    "shuffle": _shuffle,
    "expander": _expander,
    "explicit": _explicit,
}
NAMES = tuple(_MAKERS)
"""Names of the generators."""
BY_DIMENSION = ("sobol", "random")
"""Those whose dimensions know nothing of each other, so that each may pick one coordinate of a unit."""


def make(
    call: Call,
    dims: tuple[int, ...],
    sizes: tuple[int, ...],
    count: int,
    place: Place = None,
    folder: str | Path = "",
) -> Generator:
    """The generator that `call` names, over visits of the given dimensions and sizes.

    `place` is where its errors point and `folder` where the file of explicit paths is looked up. Errors: E0340 to
    E0347, and E0501, E0502, E0504 for files.
    """
    maker = _MAKERS.get(call.name)
    if maker is None:
        message = f"no path generator is called `{call.name}`; there are {', '.join(NAMES)}"
        raise error("E0340", message, place, help=did_you_mean(call.name, NAMES))
    return maker(_Request(Options(call, place), dims, sizes, count, place, Path(folder)))


def resolve(line: Line, graph: Graph, folder: str | Path | None = None) -> Generator:
    """The paths of `line` over the stations of `graph`; those of a mirrored line are walked backwards.

    Files are looked up in `folder`, by default that of the file the line stands in. Errors: as `make`, E0348 if a
    mirrored line does not fit, E0349 if the generator cannot pick coordinates.
    """
    sizes = tuple(graph.station(visit.station).units for visit in line.visits)
    if not line.mirror:
        if folder is None:
            folder = Path(line.loc.file).parent if line.loc else ""
        return _own(line, sizes, folder)
    other = graph.line(line.mirror)
    if other.mirror:
        message = f"`{line.name}` mirrors `{other.name}`, which is a mirror itself"
        raise error("E0348", message, line.loc, help=f"mirror = {other.mirror}")
    mirror = Mirror(resolve(other, graph, folder))
    if mirror.sizes != sizes or line.count not in (0, mirror.count):
        message = (
            f"`{line.name}` has {line.count} paths through layers of {_chain(sizes)} units, but `{other.name}` "
            f"backwards has {mirror.count} through {_chain(mirror.sizes)}"
        )
        raise error("E0348", message, line.loc, help="visit layers of the same sizes in reverse, with the same count")
    return mirror


def _own(line: Line, sizes: tuple[int, ...], folder: str | Path) -> Generator:
    """The paths of a line that mirrors none, with a visit for each coordinate where visits have axes."""
    parts = tuple(
        tuple(axis.parts for axis in visit.axes) or (size,) for visit, size in zip(line.visits, sizes, strict=True)
    )
    dims = tuple(dim for visit in line.visits for dim in visit.dims)
    plain = not any(visit.axes for visit in line.visits)
    if not plain and line.generator.name not in BY_DIMENSION:
        message = f"`{line.generator.name}` picks units, not coordinates of units, which the axes of `{line.name}` need"
        raise error("E0349", message, line.loc, help=f"sequence = {' or '.join(BY_DIMENSION)}, or plain dimensions")
    base = make(line.generator, dims, sum(parts, ()), line.count, line.loc, folder)
    return base if plain else Grid(base, parts)


def _chain(sizes: tuple[int, ...]) -> str:
    return " -> ".join(map(str, sizes))
