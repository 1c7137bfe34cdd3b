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
    """Unit of path i at visit v: units[v, i] of an .npz file with an integer array `units` of shape
    [visits, paths], or visit{v}[i] of arrays `visit0`, `visit1`, ... of shape [paths].

    Errors: E0341, E0347; E0501, E0502, E0504 from reading the file.
    """

    def __init__(self, path: str | Path, sizes: tuple[int, ...], count: int, place: Place = None) -> None:
        check_line(sizes, count, place)
        check_stored(count, "explicit", place)
        self.sizes, self.count = sizes, count
        _check_headers(path, len(sizes), count, place)
        arrays = read_npz(path)
        self._visits: Sequence[NDArray[Any]] = (
            list(arrays[_ARRAY]) if _ARRAY in arrays else [arrays[f"visit{v}"] for v in range(len(sizes))]
        )
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


def _check_headers(path: str | Path, visits: int, count: int, place: Place) -> None:
    """Raise E0347, before any value is read, unless the arrays have the expected names, shapes and types."""
    infos = npz_infos(path)
    expected = {_ARRAY: (visits, count)} if _ARRAY in infos else {f"visit{v}": (count,) for v in range(visits)}
    for name, shape in expected.items():
        info = infos.get(name)
        if info is None:
            raise _unusable(path, f"it has neither an array `{_ARRAY}` nor `{name}`", place)
        if info.shape != shape:
            raise _unusable(path, f"`{name}` has shape {list(info.shape)} where {list(shape)} is needed", place)
        if np.dtype(info.dtype).kind not in "iu":
            raise _unusable(path, f"`{name}` holds {info.dtype}, not integers", place)


def _unusable(path: str | Path, why: str, place: Place) -> PathcError:
    return error(
        "E0347",
        f"`{path}` does not hold these paths: {why}",
        place,
        help="write it with numpy.savez(file, units = an integer array of shape [visits, paths])",
    )
