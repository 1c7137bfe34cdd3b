"""Intel MKL's sparse products by its inspector and executor: matrices are looked at once, for many products."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.metadata
import os
import weakref
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
Indices = NDArray[np.int32]


class Kind(ctypes.Structure):
    """MKL's `matrix_descr`."""

    _fields_ = (("type", ctypes.c_int), ("mode", ctypes.c_int), ("diagonal", ctypes.c_int))


GENERAL = Kind(20, 0, 0)
PLAIN, ROW_MAJOR, FROM_ZERO = 10, 101, 0
"""Matrices as they are, not transposed; activations row by row; indices that begin at 0."""
_OFTEN = ctypes.c_int(1_000_000)
_SHORT_INTEGERS = 0
SEQUENTIAL = 1
"""The threading layer that needs no OpenMP library."""
_NO_MEMORY = 2


@cache
def library() -> Any:
    """MKL's run-time library, where pip put it or the system looks; OSError without.

    With `MKL_NUM_THREADS=1` it needs no OpenMP library.
    """
    try:
        files = importlib.metadata.files("mkl") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    names = (str(file.locate()) for file in files if file.name.startswith(("libmkl_rt", "mkl_rt")))
    found = ctypes.CDLL(next(names, ctypes.util.find_library("mkl_rt") or "libmkl_rt.so"))
    found.MKL_Set_Interface_Layer(_SHORT_INTEGERS)
    if os.environ.get("MKL_NUM_THREADS") == "1":
        found.MKL_Set_Threading_Layer(SEQUENTIAL)
    return found


class Inspected:
    """A CSR matrix that MKL has seen and arranged for products with `batch` columns of activations, time and again.

    `starts` has an entry for each row and one more, `columns` are in order. MKL refers to the arrays, which are kept.
    """

    def __init__(self, starts: Indices, columns: Indices, values: Values, shape: tuple[int, int], batch: int) -> None:
        mkl, self.handle, self.batch = library(), ctypes.c_void_p(), batch
        self._kept = starts, columns, values
        arrays = map(_at, (starts, starts[1:], columns, values))
        sizes = map(ctypes.c_int, shape)
        _done(mkl.mkl_sparse_s_create_csr(ctypes.byref(self.handle), FROM_ZERO, *sizes, *arrays))
        weakref.finalize(self, mkl.mkl_sparse_destroy, self.handle)
        if batch == 1:
            _done(mkl.mkl_sparse_set_mv_hint(self.handle, PLAIN, GENERAL, _OFTEN))
        else:
            _done(mkl.mkl_sparse_set_mm_hint(self.handle, PLAIN, GENERAL, ROW_MAJOR, ctypes.c_int(batch), _OFTEN))
        _done(mkl.mkl_sparse_optimize(self.handle))

    def product(self, x: Values, y: Values) -> Callable[[], None]:
        """What sets y [rows, batch] to the matrix times x [columns, batch], both contiguous; keeps all arrays."""
        head = PLAIN, ctypes.c_float(1.0), self.handle, GENERAL
        n, zero = ctypes.c_int(self.batch), ctypes.c_float(0.0)
        if self.batch == 1:
            multiply = partial(library().mkl_sparse_s_mv, *head, _at(x), zero, _at(y))
        else:
            multiply = partial(library().mkl_sparse_s_mm, *head, ROW_MAJOR, _at(x), n, n, zero, _at(y), n)
        return partial(_run, multiply, (self, x, y))


class Products:
    """A matrix by activations [units, batch] or [units]; it is inspected again only for another batch.

    Results lie in the same array until then.
    """

    def __init__(self, starts: Indices, columns: Indices, values: Values, shape: tuple[int, int]) -> None:
        self._matrix = starts, columns, values, shape
        self._inspected: Inspected | None = None
        self._x = self._y = np.empty(0, np.float32)
        self._multiply: Callable[[], None] = lambda: None

    def __call__(self, values: Values) -> Values:
        """The product."""
        x = np.ascontiguousarray(values)
        if x is not self._x:
            self._tie(x)
        self._multiply()
        return self._y

    def _tie(self, x: Values) -> None:
        batch = 1 if x.ndim == 1 else x.shape[1]
        if self._inspected is None or self._inspected.batch != batch:
            self._inspected = Inspected(*self._matrix, batch)
        shape = self._matrix[3][0], *x.shape[1:]
        if self._y.shape != shape:
            self._y = np.empty(shape, np.float32)
        self._x, self._multiply = x, self._inspected.product(x, self._y)


def _run(multiply: Callable[[], int], _: object) -> None:
    _done(multiply())


def _done(status: int) -> None:
    if status:
        raise MemoryError if status == _NO_MEMORY else RuntimeError(f"MKL returned {status}")


def _at(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
