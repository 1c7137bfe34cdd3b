"""Reading `.npy` and `.npz` files whose every byte may be hostile."""

from __future__ import annotations

import math
import warnings
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pathc.support.diagnostics import PathcError, error
from pathc.support.files import check_readable, memory_limit

_LONGEST_HEADER = 10_000
_MOST_MEMBERS = 1 << 16
_KINDS = "fiub"


@dataclass(frozen=True)
class ArrayInfo:
    """What a header says of an array: shape and NumPy dtype name (`bfloat16` included), before it is read."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy(path: str | Path) -> NDArray[Any]:
    """The array in a `.npy` file.

    Raises PathcError: E0501 unreadable, E0502 too big for the memory, E0504 damaged or pickled.
    """
    size = check_readable(path)
    with _damage(path), open(path, "rb") as file:
        return _read(file, size, str(path))


def npz_infos(path: str | Path) -> dict[str, ArrayInfo]:
    """Shapes and dtypes of all arrays in an `.npz` file, read from the headers alone.

    Raises PathcError: E0501 unreadable, E0502 too big for the memory, E0504 damaged.
    """
    infos: dict[str, ArrayInfo] = {}
    for name, member, size in _members(path):
        header = _header(member, size, f"{path}: {name}")
        infos[name] = ArrayInfo(header.shape, header.dtype.name)
    return infos


def read_npz(path: str | Path) -> dict[str, NDArray[Any]]:
    """All arrays in an `.npz` file by name; raises as `npz_infos`."""
    return {name: _read(member, size, f"{path}: {name}") for name, member, size in _members(path)}


def _members(path: str | Path) -> Iterator[tuple[str, IO[bytes], int]]:
    check_readable(path)
    with _damage(path), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        total = sum(m.file_size for m in members)
        if total > memory_limit():
            raise error("E0502", f"`{path}` unpacks to {total} bytes, more than the memory can take")
        names = [m.filename for m in members]
        if len(members) > _MOST_MEMBERS or len(set(names)) != len(names):
            raise error("E0504", f"`{path}` has too many members or members of equal name")
        for member in members:
            if not member.filename.endswith(".npy"):
                raise error("E0504", f"`{path}` holds `{member.filename}`, which is no array")
            with archive.open(member) as stream:
                yield member.filename.removesuffix(".npy"), stream, member.file_size


@contextmanager
def _damage(path: str | Path) -> Generator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as reason:
        raise _damaged(str(path), str(reason)) from reason


def _damaged(name: str, reason: str) -> PathcError:
    return error("E0504", f"`{name}` is damaged or no array file: {reason}", help="write or copy the file again")


def _header(stream: IO[bytes], size: int, name: str) -> _Header:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            version = np.lib.format.read_magic(stream)
            reader = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = reader(stream, max_header_size=_LONGEST_HEADER)
    except Exception as reason:  # the header is parsed as Python literals: any error there means hostile bytes
        raise _damaged(name, str(reason).split("\n", 1)[0]) from reason
    if dtype.kind not in _KINDS or dtype.names is not None or dtype.subdtype is not None:
        text = f"`{name}` holds values of type `{dtype}`"
        raise error("E0504", text, help="store floats or integers; pickled objects are never read")
    if any(isinstance(n, bool) or n < 0 for n in shape):
        raise _damaged(name, f"its shape is {shape}")
    header = _Header(shape, dtype, fortran)
    if header.size > size:
        raise _damaged(name, f"the header promises {header.size} bytes, the file has {size}")
    return header


def _read(stream: IO[bytes], size: int, name: str) -> NDArray[Any]:
    header = _header(stream, size, name)
    payload = stream.read(header.size)
    if len(payload) < header.size:
        raise _damaged(name, f"the header promises {header.size} bytes of values, only {len(payload)} follow")
    try:
        flat = np.frombuffer(bytearray(payload), dtype=header.dtype)
        shaped = flat.reshape(header.shape, order="F" if header.fortran else "C")
    except ValueError as reason:
        raise _damaged(name, str(reason)) from reason
    return shaped.astype(header.dtype.newbyteorder("="), copy=False)
