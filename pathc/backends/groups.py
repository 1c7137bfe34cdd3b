"""Destinations that hear the same sources, together: the dense blocks of what leads into a station."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.interp.base import Junction
from pathc.ir.interp.junctions import DenseJunction, PathJunction

Ids = NDArray[np.int64]
Sources = Mapping[str, tuple[int, int]]
"""Number of the first unit of each station among all that can be read, and its real units."""


@dataclass(frozen=True)
class Group:
    """Units `rows` that all hear `columns`, with weights [rows, columns].

    A source may occur several times: parallel paths keep weights of their own, whose sum might not fit into 8 bits.
    """

    rows: Ids
    columns: Ids
    weights: NDArray[Any]


def groups_of(
    into: Sequence[tuple[Junction, NDArray[Any]]], sources: Sources, real: int, dtype: type[np.generic]
) -> list[Group]:
    """The groups of a station with `real` units, in the order of their first units; silent units are left out.

    `into` are junctions with their weights, which become `dtype`.

    Every unit is in one group, with no columns if nothing leads to it. Skips are no edges of groups.
    """
    edges = [_edges(junction, weights.astype(dtype), sources) for junction, weights in into if junction.tensor]
    dense = [matrix for _, matrix in edges if matrix is not None]
    if edges and len(dense) == len(edges):
        columns = np.concatenate([ids for (_, ids, _), _ in edges])
        return [Group(np.arange(real), columns, np.concatenate(dense, axis=1))]
    parts = [part for part, _ in edges]
    rows, columns = (np.concatenate([np.zeros(0, np.int64), *(part[k] for part in parts)]) for k in range(2))
    weights = np.concatenate([np.zeros(0, dtype), *(part[2] for part in parts)])
    if dense:
        rows, columns, weights = _all_edges(edges)
    return grouped(rows, columns, weights, real)


def grouped(rows: Ids, columns: Ids, weights: NDArray[Any], real: int) -> list[Group]:
    """The groups of edges with these destinations, sources and weights, as `groups_of` gives them."""
    heard = rows < real
    rows, columns, weights = rows[heard], columns[heard], weights[heard]
    order = np.lexsort((columns, rows))
    rows, columns, weights = rows[order], columns[order], weights[order]
    starts = np.searchsorted(rows, np.arange(real + 1))
    members: dict[bytes, list[int]] = {}
    for row in range(real):
        members.setdefault(columns[starts[row] : starts[row + 1]].tobytes(), []).append(row)
    found: list[Group] = []
    for key, together in members.items():
        values = np.stack([weights[starts[row] : starts[row + 1]] for row in together])
        found.append(Group(np.array(together, np.int64), np.frombuffer(key, np.int64), values))
    return found


def merged(group: Group, bound: int = 0) -> Group:
    """The same sums with fewer columns: repeated ones become one.

    With a bound, for integers, they become as many as weights of at most `bound` can make up.
    """
    columns, places, times = np.unique(group.columns, return_inverse=True, return_counts=True)
    if len(columns) == len(group.columns):
        return group
    order = np.argsort(places, kind="stable")
    starts = np.concatenate([[0], np.cumsum(times)[:-1]])
    kind = group.weights.dtype
    totals = np.add.reduceat(group.weights[:, order].astype(np.int64 if bound else kind), starts, axis=1)
    if not bound:
        return Group(group.rows, columns, totals)
    needed = np.maximum(1, -(-abs(totals).max(axis=0) // bound))
    kept = np.repeat(np.arange(len(columns)), needed)
    part = np.arange(len(kept)) - np.repeat(np.cumsum(needed) - needed, needed)
    weights = (totals[:, kept] + part) // needed[kept]
    return Group(group.rows, columns[kept], weights.astype(kind))


_List = tuple[Ids, Ids, NDArray[Any]]
_Edges = tuple[_List, NDArray[Any] | None]


def _edges(junction: Junction, weights: NDArray[Any], sources: Sources) -> _Edges:
    """Destination, source and weight of every edge; of a dense junction the sources, and its matrix beside them."""
    first, known = sources[junction.source]
    match junction:
        case DenseJunction(real=(_, into), transposed=transposed):
            matrix = weights.T if transposed else weights
            ids = np.arange(first, first + into)
            return (np.arange(len(matrix)), ids, weights[:0, 0]), np.ascontiguousarray(matrix)
        case PathJunction(generator=generator, number=number):
            source, target = (generator.units(v, 0, generator.count).astype(np.int64) for v in (number - 1, number))
            heard = source < known
            return (target[heard], source[heard] + first, weights[heard]), None
        case _:
            raise ValueError("groups are made of paths and dense lines")


def _all_edges(edges: Sequence[_Edges]) -> _List:
    """The edges of paths and of matrices, one by one."""
    found: list[_List] = []
    for (rows, columns, weights), matrix in edges:
        if matrix is None:
            found.append((rows, columns, weights))
        else:
            ends = np.repeat(rows, len(columns)), np.tile(columns, len(rows))
            found.append((*ends, matrix.reshape(-1)))
    rows, columns, weights = (np.concatenate([part[k] for part in found]) for k in range(3))
    return rows, columns, weights
