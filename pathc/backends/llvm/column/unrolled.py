"""Any edges, any sizes: each edge an instruction of its own, many destinations in registers at a time.

What holds up kernels that walk through indices is loading a source for every product. Here the sums of `rows`
destinations that share many sources stay in registers, each source is loaded once for all of them, and each weight
comes with its product as a broadcast operand; there are no indices, as the edges are the code. Only the products that
the junction has are computed, so infinities and NaN stay where they belong.

The code is written as assembly, since that is compiled ten times faster than as many operations of LLVM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from pathc.backends.llvm import vecmath
from pathc.backends.llvm.column.assembly import SUMS, Assembly
from pathc.backends.llvm.column.common import (
    Bytes,
    Finish,
    Tile,
    aligned,
    byte_offset,
    column_groups,
    encode,
    ends,
    outgrown,
    parameters,
    place,
    store_vectors,
    tile,
    unit_address,
)
from pathc.backends.llvm.emit import Function
from pathc.backends.llvm.general.edges import Distinct, Ints, distinct_edges
from pathc.backends.llvm.machine import Machine
from pathc.backends.llvm.plan import Family, Junction, Step, TileOption, Tiles
from pathc.backends.llvm.sharing import Pool
from pathc.ir.types import Call
from pathc.support.tensors import round_to_bfloat16

_EDGE_BYTES = 12
"""Bytes of code for an edge, about."""
_CODE = 2
"""The part of the second-level cache that code may fill: one of so many."""
_MOST = 1 << 16
"""Edges at most, so that code is compiled in well under a second."""
_MOST_ROWS, _MOST_SOURCES = 1 << 12, 1 << 20
"""Destinations at most, so that they are brought together in a fraction of a second, and sources, whose distances are
numbers of 32 bits."""
_SECONDARY = 1.25
"""Clock cycles more for a source that comes from the second-level cache."""
_WRITTEN = 2.0
"""The same for a sum that is written there."""
_RELU = Call("relu")


@dataclass(frozen=True, eq=False)
class Sets:
    """Destinations in sets; `rows` are the destinations of each."""

    edges: Distinct
    rows: tuple[Ints, ...]

    @cached_property
    def numbers(self) -> tuple[Ints, ...]:
        """Numbers of the distinct edges of each set in the order of their products: by source, then by destination."""
        found = list[Ints]()
        for rows in self.rows:
            counts = self.edges.lengths[rows]
            within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
            numbers = np.repeat(self.edges.start[rows], counts) + within
            found.append(numbers[np.argsort(self.edges.src[numbers], kind="stable")])
        return tuple(found)

    @property
    def order(self) -> Ints:
        """Those of all sets, one after another."""
        return np.concatenate([*self.numbers, np.zeros(0, np.int64)])

    @cached_property
    def loads(self) -> int:
        """Sources loaded for all sets."""
        return sum(len(np.unique(self.edges.src[numbers])) for numbers in self.numbers)

    def products(self) -> Iterator[tuple[Ints, Ints, Ints]]:
        """Destinations of each set, and source and place among these of every product."""
        places = np.zeros(self.edges.n_dst, np.int64)
        for rows, numbers in zip(self.rows, self.numbers, strict=True):
            places[rows] = np.arange(len(rows))
            yield rows, self.edges.src[numbers], places[self.edges.dst[numbers]]


_known: WeakKeyDictionary[Distinct, dict[int, Sets]] = WeakKeyDictionary()


def sets_of(junction: Junction, most: int) -> Sets:
    """The destinations of a junction in sets of at most `most` that share many sources; remembered with its edges."""
    edges = distinct_edges(junction)
    known = _known.setdefault(edges, {})
    if most not in known:
        heard = np.split(edges.src, edges.start[1:-1])
        pool = Pool(heard, np.ones(edges.n_dst, np.int64), most)
        known[most] = Sets(edges, tuple(np.array(sorted(each), np.int64) for each in pool.sets()))
    return known[most]


def _sets(step: Step) -> Sets:
    return sets_of(step.junction, step.option("rows", SUMS))


class ColumnUnrolled:
    """Edges as instructions, the sums of many destinations in registers, lanes over samples."""

    name: ClassVar[str] = "column-unrolled"
    family: ClassVar[Family] = "column"
    tiles: ClassVar[tuple[TileOption, ...]] = (TileOption("rows", SUMS, False, "destinations in registers, at most"),)

    def tile(self, step: Step, machine: Machine) -> Tiles:
        """As many destinations as there are registers for."""
        return (("rows", SUMS),)

    def refusal(self, junction: Junction, machine: Machine) -> str:
        """Why the form cannot compute this junction, or an empty string."""
        if junction.kind != "paths":
            return f"it computes paths, not a {junction.kind} junction"
        if junction.blocks:
            return "its dense blocks need no code for each edge"
        if not machine.avx512 or machine.width != 16:
            return "its instructions are those of AVX-512"
        if junction.n_dst > _MOST_ROWS or junction.n_src > _MOST_SOURCES:
            return f"it is for at most {_MOST_ROWS} destinations and {_MOST_SOURCES} sources"
        most = min(_MOST, machine.l2 // (_CODE * _EDGE_BYTES))
        if junction.count > most:
            return f"the code of {junction.count} paths would not stay in the cache, that of {most} does"
        return ""

    def cycles(self, step: Step, machine: Machine, samples: int) -> float:
        """Estimated clock cycles for a tile of `samples` columns; wide ones share the fetching of code."""
        junction = step.junction
        sets = _sets(step)
        held = 4 * (junction.n_src + junction.n_dst) * samples
        far = outgrown(machine, held)
        load = (0.4 if machine.dual else 0.5) + _SECONDARY * (1.0 if step.src_layout.array else far)
        product = (0.57 if machine.dual else 0.95) + 0.13 * machine.width / samples
        each = product * len(sets.edges.src) + load * sets.loads
        each += (1.5 + _WRITTEN * far + vecmath.cycles(step.activation)) * junction.n_dst
        return samples / machine.width * each

    def pack(self, step: Step, machine: Machine, weights: Mapping[str, NDArray[np.float32]]) -> Bytes:
        """Weights in the order of the products, as float32 even where they are rounded to bfloat16."""
        sets = _sets(step)
        values = sets.edges.sums(weights[step.junction.tensor])[sets.order]
        if step.weight_type == "bf16":
            values = round_to_bfloat16(values)
        return aligned(encode(values, "f32"))

    def emit(self, step: Step, name: str, machine: Machine, samples: int) -> Sequence[Function]:
        """The kernel called `name` for `samples` columns."""
        f = Function(name, parameters(step))
        source, target = ends(tile(machine, samples, 1), step)
        sets = _sets(step)
        weight = 0
        for rows, units, places in sets.products():
            weights = byte_offset(f, "%weights", 4 * weight)
            with column_groups(f, source) as column:
                src, dst = byte_offset(f, "%src", column), byte_offset(f, "%dst", column)
                code = Assembly(f, source, target, (src, dst, weights))
                code.start(step.init, rows)
                code.products(units, places)
                code.store(rows, relu=step.activation == _RELU)
                code.call()
            weight += len(units)
        if step.activation not in (None, _RELU):
            _finish(f, target, step)
        return [f]


def _finish(f: Function, t: Tile, step: Step) -> None:
    """Write a loop that applies the activation to what lies in the destination."""
    finish = Finish("add", step.activation)
    with f.loop(step.junction.n_dst) as loop, column_groups(f, t) as column:
        at = unit_address(f, t, "%dst", place(f, t, loop.index, column), 0)
        store_vectors(f, t, finish.end(f, t, finish.start(f, t, loop.index, at)), at)
