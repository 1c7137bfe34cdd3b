"""Reading IDX files, the format of MNIST, whose every byte may be hostile."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.support.diagnostics import PathcError, error
from pathc.support.files import memory_limit, read_bounded

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_AXES = 8
_GZIP = b"\x1f\x8b"


def read_idx(path: str | Path) -> NDArray[Any]:
    """The array in an IDX file, packed by gzip or not, in the byte order of the machine.

    Raises PathcError: E0501 unreadable, E0502 too big for the memory, E0906 damaged.
    """
    data = read_bounded(path)
    if data.startswith(_GZIP):
        data = _unpacked(data, path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or not 1 <= data[3] <= _MOST_AXES:
        raise _damaged(path, "it does not begin like one")
    kind, axes = np.dtype(_TYPES[data[2]]), data[3]
    start = 4 + 4 * axes
    if len(data) < start:
        raise _damaged(path, "its header is cut off")
    shape = struct.unpack(f">{axes}I", data[4:start])
    size = math.prod(shape) * kind.itemsize
    if len(data) - start != size:
        raise _damaged(path, f"the header promises {size} bytes of values, {len(data) - start} follow")
    values = np.frombuffer(data, kind, offset=start).reshape(shape)
    return values.astype(kind.newbyteorder("="))


def _unpacked(data: bytes, path: str | Path) -> bytes:
    """The bytes inside a gzip file, no more than the memory can take."""
    limit = memory_limit()
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        unpacked = decoder.decompress(data, limit)
    except zlib.error as reason:
        raise _damaged(path, str(reason)) from reason
    if decoder.unconsumed_tail:
        raise error("E0502", f"`{path}` unpacks to more than {limit} bytes, more than the memory can take")
    if not decoder.eof:
        raise _damaged(path, "the packed file is cut off")
    return unpacked


def _damaged(path: str | Path, reason: str) -> PathcError:
    return error("E0906", f"`{path}` is damaged or no IDX file: {reason}", help="copy or download the file again")
