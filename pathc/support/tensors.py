"""The `.safetensors` format with bfloat16, read through the library that validates it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors
from numpy.typing import NDArray

from pathc.support.arrays import ArrayInfo
from pathc.support.diagnostics import PathcError, error
from pathc.support.files import check_readable, read_bounded

TYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
}
"""Element types that a weight may have, and what the format calls them."""
_NAMES = {code: name for name, code in TYPES.items()}
_LIBRARY = cast(Any, safetensors)


def safetensors_infos(path: str | Path) -> dict[str, ArrayInfo]:
    """Shape and dtype of every tensor, from the header alone.

    Raises PathcError: E0501 unreadable, E0502 too big for the memory, E0504 damaged.
    """
    check_readable(path)
    try:
        with _LIBRARY.safe_open(path, framework="np") as file:
            slices = [(str(name), file.get_slice(name)) for name in list(file.keys())]
            return {name: ArrayInfo(tuple(s.get_shape()), _type_name(str(s.get_dtype()))) for name, s in slices}
    except (_LIBRARY.SafetensorError, OSError, ValueError) as reason:
        raise _damaged(path, reason) from reason


def safetensors_metadata(path: str | Path) -> dict[str, str]:
    """The text metadata of a file, empty if it has none; raises as `safetensors_infos`."""
    check_readable(path)
    try:
        with _LIBRARY.safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except (_LIBRARY.SafetensorError, OSError, ValueError) as reason:
        raise _damaged(path, reason) from reason


def read_safetensors(path: str | Path) -> dict[str, NDArray[Any]]:
    """All tensors of a file; bfloat16 comes as float32, which is exact.

    Raises as `safetensors_infos`, and E0508 for an element type that no weight has.
    """
    try:
        parts = _LIBRARY.deserialize(read_bounded(path))
    except (_LIBRARY.SafetensorError, ValueError) as reason:
        raise _damaged(path, reason) from reason
    return {str(name): _values(str(name), part, path) for name, part in parts}


def safetensors_bytes(stored: Mapping[str, tuple[str, NDArray[Any]]], metadata: Mapping[str, str]) -> bytes:
    """A whole file in memory; `stored` maps names to (element type, values), bfloat16 as its 16 bits in uint16."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    chunks: list[bytes] = []
    offset = 0
    # Wide elements first, so that every tensor starts at a multiple of its element size.
    for name, (kind, values) in sorted(stored.items(), key=lambda item: (-item[1][1].dtype.itemsize, item[0])):
        data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        offsets = [offset, offset + len(data)]
        header[name] = {"dtype": TYPES[kind], "shape": list(values.shape), "data_offsets": offsets}
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *chunks])


def round_to_bfloat16(values: NDArray[Any]) -> NDArray[np.float32]:
    """The nearest bfloat16 of each value (ties to even), held in float32; NaN stays NaN."""
    single = np.ascontiguousarray(values, dtype=np.float32).reshape(np.shape(values))
    bits = single.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(single), single, rounded.view(np.float32))


def _type_name(code: str) -> str:
    return _NAMES.get(code, code)


def _damaged(path: str | Path, reason: object) -> PathcError:
    return error("E0504", f"`{path}` is damaged or no weight file: {reason}", help="write or copy the file again")


def _values(name: str, part: dict[str, Any], path: str | Path) -> NDArray[Any]:
    kind = _type_name(part["dtype"])
    if kind not in TYPES:
        text = f"tensor `{name}` in `{path}` has type {kind}"
        raise error("E0508", text, help="store float32, float64, float16, bfloat16 or integers")
    if kind == "bfloat16":
        halves = np.frombuffer(part["data"], dtype="<u2").astype(np.uint32)
        return (halves << 16).view(np.float32).reshape(part["shape"])
    little = np.dtype(kind).newbyteorder("<")
    return np.frombuffer(part["data"], dtype=little).reshape(part["shape"]).astype(kind, copy=False)
