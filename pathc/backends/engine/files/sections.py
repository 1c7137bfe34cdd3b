"""Sections of an object file: named pieces of bytes in a frame that notices any change.

    0   8   magic "PATHENG" and a zero byte
    8   2   version of the instruction set
    10  2   number of sections
    12  4   zero
    16  16  hash of the machine
    32  24  each section: kind (4), zero (4), offset (8), length (8)
    ... sections in the order of their kinds, each from a multiple of 16 on, zeros between
    end-32  SHA-256 of all before

All numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

from pathc.support.diagnostics import PathcError, error

MAGIC = b"PATHENG\0"
SECTIONS = ("meta", "code", "config", "weights", "tables", "parameters", "curves", "input map",
            "output map", "output scales")  # fmt: skip
"""Names of the sections; the kind of a section is its position here, from 1."""
_HEAD = struct.Struct("<8sHHI16s")
_ENTRY = struct.Struct("<IIQQ")
_ALIGN = 16
_CHECKSUM = 32


def frame(version: int, machine: bytes, sections: Mapping[str, bytes]) -> bytes:
    """The bytes of an object file with all SECTIONS."""
    body = bytearray(_HEAD.pack(MAGIC, version, len(SECTIONS), 0, machine))
    offset = _aligned(_HEAD.size + _ENTRY.size * len(SECTIONS))
    for kind, name in enumerate(SECTIONS, 1):
        body += _ENTRY.pack(kind, 0, offset, len(sections[name]))
        offset = _aligned(offset + len(sections[name]))
    for name in SECTIONS:
        body += bytes(_aligned(len(body)) - len(body)) + sections[name]
    body += bytes(_aligned(len(body)) - len(body))
    return bytes(body) + hashlib.sha256(body).digest()


def unframe(data: bytes, version: int) -> tuple[bytes, dict[str, tuple[int, bytes]]]:
    """The hash of the machine, and every section with its offset.

    Raises PathcError: E1020 no object file, E1021 another version, E1022 changed or cut off, E1023 a frame that
    contradicts itself.
    """
    if not data.startswith(MAGIC):
        raise error("E1020", "at offset 0 there is no object file of the engine", help="make one: compile -t engine")
    least = _HEAD.size + _CHECKSUM
    if len(data) < least:
        raise error("E1022", f"the object file is cut off at offset {len(data)}, before its head ends")
    _, found, count, zero, machine = _HEAD.unpack_from(data)
    if found != version:
        message = f"the object file has version {found} at offset 8, this is version {version} of the instructions"
        raise error("E1021", message, help="compile the model again")
    if hashlib.sha256(data[:-_CHECKSUM]).digest() != data[-_CHECKSUM:]:
        message = (
            f"the checksum at offset {len(data) - _CHECKSUM} is not that of the {len(data) - _CHECKSUM} bytes before"
        )
        raise error("E1022", message, help="the file was changed or cut off; compile the model again")
    if zero or count != len(SECTIONS):
        raise wrong(10, f"{count} sections, and a reserved field of {zero}")
    sections: dict[str, tuple[int, bytes]] = {}
    end = _HEAD.size + _ENTRY.size * count
    for number, name in enumerate(SECTIONS):
        at = _HEAD.size + _ENTRY.size * number
        if at + _ENTRY.size > len(data) - _CHECKSUM:
            raise wrong(at, "a list of sections that is cut off")
        kind, zero, offset, length = _ENTRY.unpack_from(data, at)
        if kind != number + 1 or zero:
            raise wrong(at, f"section {kind} where {number + 1}, `{name}`, belongs")
        if offset != _aligned(end) or offset + length > len(data) - _CHECKSUM:
            raise wrong(at + 8, f"`{name}` from {offset} on, {length} bytes, which does not fit there")
        if any(data[end:offset]):
            raise wrong(end, f"bytes other than zero between sections, before `{name}`")
        sections[name] = (offset, data[offset : offset + length])
        end = offset + length
    if _aligned(end) + _CHECKSUM != len(data) or any(data[end:-_CHECKSUM]):
        raise wrong(end, "bytes behind the last section")
    return machine, sections


def wrong(offset: int, what: str) -> PathcError:
    """E1023: what is found at an offset and must not be there."""
    return error("E1023", f"at offset {offset} the object file has {what}", help="compile the model again")


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGN) * _ALIGN
