"""Paths read from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.ir.generators.base import UnitArray
from pathc.ir.generators.checks import check_line, check_stored, check_window
from pathc.support.arrays import npz_infos, read_npz
from pathc.support.diagnostics import PathcError, Place, error

_ARRAY = "units"


class Explicit:
    """Unit of path i at a visit of dimension d: units[d, i] of an .npz file with an integer array `units` of shape
    [dimensions, paths], or visit{d}[i] of arrays `visit0`, `visit1`, ... of shape [paths].

    Dimensions are the visits in their order unless `dims` names others, so that lines can share a file.

    Errors: E0341, E0347; E0501, E0502, E0504 from reading the file.
    """

    def __init__(
        self, path: str | Path, sizes: tuple[int, ...], count: int, place: Place = None, dims: tuple[int, ...] = ()
    ) -> None:
        check_line(sizes, count, place)
        check_stored(count, "explicit", place)
        self.sizes, self.count = sizes, count
        dims = dims or tuple(range(len(sizes)))
        _check_headers(path, dims, count, place)
        arrays = read_npz(path)
        self._visits: Sequence[NDArray[Any]] = [
            arrays[_ARRAY][d] if _ARRAY in arrays else arrays[f"visit{d}"] for d in dims
        ]
        for visit, (units, size) in enumerate(zip(self._visits, sizes, strict=True)):
            outside = np.flatnonzero((units < 0) | (units >= size))
            if len(outside):
                first = int(outside[0])
                message = f"path {first} visits unit {units[first]} at visit {visit}, which has 0 .. {size - 1}"
                raise _unusable(path, message, place)

    def affine(self, visit: int) -> None:
        """None: explicit paths are not taken for linear."""

    def units(self, visit: int, start: int, stop: int) -> UnitArray:
        """Units visited by paths start .. stop-1 at `visit`: int64 of shape [stop - start]."""
        check_window(start, stop, self.count)
        return self._visits[visit][start:stop].astype(np.int64)


def _check_headers(path: str | Path, dims: tuple[int, ...], count: int, place: Place) -> None:
    """Raise E0347, before any value is read, unless the arrays have the expected names, shapes and types."""
    infos = npz_infos(path)
    for name in [_ARRAY] if _ARRAY in infos else [f"visit{d}" for d in dims]:
        info = infos.get(name)
        if info is None:
            raise _unusable(path, f"it has neither an array `{_ARRAY}` nor `{name}`", place)
        rows = max(dims) + 1
        wanted = (max(rows, *info.shape[:1]), count) if name == _ARRAY else (count,)
        if info.shape != wanted:
            needed = [rows, count] if name == _ARRAY else [count]
            raise _unusable(path, f"`{name}` has shape {list(info.shape)} where {needed} is needed", place)
        if np.dtype(info.dtype).kind not in "iu":
            raise _unusable(path, f"`{name}` holds {info.dtype}, not integers", place)


def _unusable(path: str | Path, why: str, place: Place) -> PathcError:
    return error(
        "E0347",
        f"`{path}` does not hold these paths: {why}",
        place,
        help="write it with numpy.savez(file, units = an integer array of shape [visits, paths])",
    )
