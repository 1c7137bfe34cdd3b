"""Whole nets by other libraries' sparse products, each with matrices, arrays and loops as it likes them best.

A peer takes the matrices of a chain of layers with ReLU between them, and the values of its stations, [units, batch] at
cache lines. It returns what computes the net so many times on one thread and gives the outputs. scipy and `mkl` are
called layer by layer from Python, ReLU is NumPy's; the others repeat the whole net in native code.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
from _timing import floats
from numpy.typing import NDArray

from pathc.backends.tvm import facade
from pathc.bench import mkl
from pathc.bench.network import Edges, edges_of
from pathc.driver import Compiled

Values = NDArray[np.float32]
Run = Callable[[int], Values]
TILE = 8
"""Vectors of samples whose sums TVM keeps in registers."""


@dataclass(frozen=True)
class Matrix:
    """A junction as CSR: a row for each destination, its columns in order, equal edges added up."""

    starts: NDArray[np.int32]
    columns: NDArray[np.int32]
    values: Values
    shape: tuple[int, int]


def matrices_of(net: Compiled) -> list[Matrix]:
    """The junctions of a chain."""
    return [
        _matrix(edges_of(net.graph, line, number, net.weights)) for line in net.graph.lines for number in line.junctions
    ]


def _matrix(edges: Edges) -> Matrix:
    starts, columns, weight = edges.rows()
    values = floats(len(weight))
    values[:] = weight
    return Matrix(starts.astype(np.int32), columns.astype(np.int32), values, edges.shape)


def stations(matrices: Sequence[Matrix], x: Values) -> list[Values]:
    """Arrays for the values of all stations, the first a copy of `x`, [units, batch]."""
    found = [floats(x.size).reshape(x.shape)]
    found[0][:] = x
    batch = x.shape[1]
    return found + [floats(each.shape[0] * batch).reshape(-1, batch) for each in matrices]


def by_scipy(matrices: Sequence[Matrix], values: Sequence[Values]) -> Run:
    """scipy's CSR product."""
    from scipy.sparse import csr_matrix

    given = values[0][:, 0] if values[0].shape[1] == 1 else values[0]
    products = [csr_matrix((each.values, each.columns, each.starts), shape=each.shape) for each in matrices]

    def run(rounds: int) -> Values:
        for _ in range(rounds):
            held = products[0] @ given
            for product in products[1:]:
                held = product @ np.maximum(held, 0.0, out=held)
        return held.reshape(values[-1].shape)

    return run


def _inspected(matrices: Sequence[Matrix], batch: int) -> list[mkl.Inspected]:
    """The matrices, seen by MKL's inspector; on one thread."""
    mkl.library().MKL_Set_Threading_Layer(mkl.SEQUENTIAL)
    return [mkl.Inspected(each.starts, each.columns, each.values, each.shape, batch) for each in matrices]


def by_mkl(matrices: Sequence[Matrix], values: Sequence[Values]) -> Run:
    """MKL's inspector-executor, called from Python layer by layer."""
    inspected = _inspected(matrices, values[0].shape[1])
    products = [each.product(x, y) for each, (x, y) in zip(inspected, pairwise(values), strict=True)]
    first, later = products[0], list(zip(values[1:-1], products[1:], strict=True))

    def run(rounds: int) -> Values:
        for _ in range(rounds):
            first()
            for x, product in later:
                np.maximum(x, 0.0, out=x)
                product()
        return values[-1]

    return run


@cache
def _mkl_loop(single: bool) -> Any:
    """A loop over layers that calls MKL from native code; `matrix_descr` lies in two registers on x86-64 Linux."""
    from numba import njit

    i, f, p, d = ctypes.c_int, ctypes.c_float, ctypes.c_void_p, ctypes.c_int64
    head, plain, general, row_major = (i, i, f, p, d, i), mkl.PLAIN, mkl.GENERAL.type, mkl.ROW_MAJOR
    mv = ctypes.CFUNCTYPE(*head, p, f, p)(_address("mkl_sparse_s_mv"))
    mm = ctypes.CFUNCTYPE(*head, i, p, i, i, f, p, i)(_address("mkl_sparse_s_mm"))

    @njit
    def product_of_one(handle: int, x: int, y: int, _: int) -> None:
        mv(plain, np.float32(1), handle, general, 0, x, np.float32(0), y)

    @njit
    def product_of_many(handle: int, x: int, y: int, batch: int) -> None:
        mm(plain, np.float32(1), handle, general, 0, row_major, x, batch, batch, np.float32(0), y, batch)

    multiply = product_of_one if single else product_of_many

    @njit(fastmath=True)
    def net(rounds: int, handles: Any, places: Any, values: Any, batch: int) -> None:
        for _ in range(rounds):
            for n in range(len(handles)):
                multiply(handles[n], places[n], places[n + 1], batch)
                if n + 1 < len(handles):
                    y = values[n + 1]
                    for at in range(len(y)):
                        y[at] = max(y[at], np.float32(0))

    return net


def _address(name: str) -> int:
    return ctypes.cast(getattr(mkl.library(), name), ctypes.c_void_p).value or 0


def by_native_mkl(matrices: Sequence[Matrix], values: Sequence[Values]) -> Run:
    """MKL's inspector-executor, called from a loop that numba compiles; so is ReLU."""
    batch = values[0].shape[1]
    net = _mkl_loop(batch == 1)
    inspected = _inspected(matrices, batch)
    handles = np.array([each.handle.value for each in inspected], np.int64)
    places = np.array([each.ctypes.data for each in values], np.int64)
    kept, flat = inspected, tuple(each.reshape(-1) for each in values)

    def run(rounds: int) -> Values:
        net(rounds, handles, places, flat, batch)
        return flat[-1].reshape(-1, kept[-1].batch)

    return run


@cache
def _numba() -> tuple[Any, Any]:
    """The net for one sample and for many."""
    from numba import njit

    @njit(fastmath=True)
    def one(rounds: int, layers: Any, values: Any) -> None:
        zero = np.float32(0)
        for _ in range(rounds):
            for n in range(len(layers)):
                starts, columns, weights = layers[n]
                x, y, last = values[n], values[n + 1], n + 1 == len(layers)
                for i in range(len(y)):
                    total = zero
                    for e in range(starts[i], starts[i + 1]):
                        total += weights[e] * x[columns[e], 0]
                    y[i, 0] = total if last else max(total, zero)

    @njit(fastmath=True)
    def many(rounds: int, layers: Any, values: Any) -> None:
        zero = np.float32(0)
        for _ in range(rounds):
            for n in range(len(layers)):
                starts, columns, weights = layers[n]
                x, y = values[n], values[n + 1]
                for i in range(len(y)):
                    row = y[i]
                    row[:] = zero
                    for e in range(starts[i], starts[i + 1]):
                        weight, given = weights[e], x[columns[e]]
                        for b in range(len(row)):
                            row[b] += weight * given[b]
                    if n + 1 < len(layers):
                        for b in range(len(row)):
                            row[b] = max(row[b], zero)

    return one, many


def by_numba(matrices: Sequence[Matrix], values: Sequence[Values]) -> Run:
    """A loop over the CSR arrays; unsigned columns, which numba need not test for negative ones."""
    run = _numba()[values[0].shape[1] > 1]
    layers = tuple((m.starts.astype(np.uint64), m.columns.astype(np.uint32), m.values) for m in matrices)
    arrays = tuple(values)

    def repeat(rounds: int) -> Values:
        run(rounds, layers, arrays)
        return arrays[-1]

    return repeat


def _tvm_text(matrices: Sequence[Matrix], batch: int, tile: int) -> str:
    """The loops over the CSR arrays as TVMScript; `tile` vectors of sums in registers, with 0 sums are in memory."""
    wide = next(n for n in (16, 8, 4, 2, 1) if batch % n == 0)
    count = next(n for n in range(min(tile, batch // wide), 0, -1) if batch // wide % n == 0) if tile else batch // wide
    taken, body = [f'v0: T.Buffer(({matrices[0].shape[1]}, {batch}), "float32")'], list[str]()
    for n, matrix in enumerate(matrices):
        edges, units = len(matrix.values), matrix.shape[0]
        taken += [f'w{n}: T.Buffer(({edges},), "float32")', f'c{n}: T.Buffer(({edges},), "int32")']
        taken += [f'p{n}: T.Buffer(({units + 1},), "int32")', f'v{n + 1}: T.Buffer(({units}, {batch}), "float32")']
        lane = f"u * {wide} + k"
        column = f"t * {count * wide} + {lane}"
        held = f"s{n}[{lane}]" if tile else f"v{n + 1}[i, {column}]"
        result = held if n + 1 == len(matrices) else f"T.max({held}, T.float32(0))"
        lanes = f"for u in T.{'unroll' if tile else 'serial'}({count}):", f"    for k in T.vectorized({wide}):"
        add = f"{held} = {held} + w{n}[p{n}[i] + e] * v{n}[c{n}[p{n}[i] + e], {column}]"
        body += [f"        for i in range({units}):", f"            for t in range({batch // wide // count}):"]
        inner = [f's{n} = T.alloc_buffer(({count * wide},), "float32", scope="local")'] if tile else []
        inner += [*lanes, f"        {held} = T.float32(0)", f"for e in range(p{n}[i + 1] - p{n}[i]):"]
        inner += [f"    {part}" for part in (*lanes, f"        {add}")]
        inner += [*lanes, f"        v{n + 1}[i, {column}] = {result}"] if tile or result != held else []
        body += [" " * 16 + part for part in inner]
    head = [f"def net({', '.join(taken)}, rounds: T.int32):"]
    head += ['    T.func_attr({"global_symbol": "net", "tirx.noalias": True})', "    for r in range(rounds):"]
    return "\n".join(["@T.prim_func", *head, *body, ""])


def by_tvm(matrices: Sequence[Matrix], values: Sequence[Values], tile: int = 0) -> Run:
    """Loops over the CSR arrays, compiled by TVM for this processor, samples as vectors."""
    text = _tvm_text(matrices, values[0].shape[1], tile)
    net = facade.compile_cpu(facade.parse(text), ["net"])["net"]
    arrays = [values[0]]
    for matrix, y in zip(matrices, values[1:], strict=True):
        arrays += [matrix.values, facade.aligned_copy(matrix.columns), facade.aligned_copy(matrix.starts), y]
    taken = [facade.tensor(array) for array in arrays]

    def run(rounds: int) -> Values:
        net(*taken, rounds)
        return values[-1]

    return run


PEERS: dict[str, tuple[tuple[str, ...], Callable[[Sequence[Matrix], Sequence[Values]], Run]]] = {
    "scipy": (("scipy",), by_scipy),
    "mkl": (("mkl",), by_mkl),
    "mkl native": (("mkl", "numba"), by_native_mkl),
    "numba": (("numba",), by_numba),
    "tvm": (("apache-tvm",), by_tvm),
    "tvm tiled": (("apache-tvm",), partial(by_tvm, tile=TILE)),
}
"""The packages that a peer needs, and the peer."""


def missing(peer: str) -> list[str]:
    """The packages of a peer that are not installed."""
    return [package for package in PEERS[peer][0] if _absent(package)]


def _absent(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return True
    return False
