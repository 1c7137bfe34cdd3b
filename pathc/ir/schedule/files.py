"""Schedules as files: `.json` and `.npz`, written whole or not at all, every byte of them hostile when read.

Both hold the same record. Written out: `lanes` [cycles, z] with -1 for an idle lane, `sources` and `destinations`
[paths]. Symbolic: `paths`, `lane_bits`, and per end the columns and shift of its affine map. In an `.npz` file the
arrays stand by themselves and the rest as JSON in the bytes of `schedule`.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pathc.ir.generators.base import Affine
from pathc.ir.generators.checks import MAX_COUNT
from pathc.ir.schedule.banks import Banks
from pathc.ir.schedule.blocks import BlockSchedule, block_schedule
from pathc.ir.schedule.build import MAX_LANES
from pathc.ir.schedule.table import Schedule
from pathc.support.arrays import npz_infos, read_npz
from pathc.support.diagnostics import PathcError, error
from pathc.support.files import read_bounded, write_atomically

VERSION = 1
_ARRAYS = ("lanes", "sources", "destinations")
_HEAD = "schedule"
_FIELDS = {
    "table": {"version", "form", "source", "destination"},
    "blocks": {"version", "form", "source", "destination", "paths", "z"},
}
_LONGEST_HEAD = 1 << 16
_LONGEST_JSON = 1 << 27


def save_schedule(path: str | Path, schedule: Schedule | BlockSchedule) -> None:
    """Write a schedule to `path`, whose ending, `.json` or `.npz`, says how. Errors: E0357, E0503."""
    head, arrays = _head(schedule), _arrays(schedule)
    if _ending(path) == ".json":
        record = head | {name: array.tolist() for name, array in arrays.items()}
        text = json.dumps(record) + "\n"
        if len(text) > _LONGEST_JSON:
            message = f"the schedule takes {len(text)} bytes of JSON, more than {_LONGEST_JSON}"
            raise error("E0357", message, help="call it .npz")
        write_atomically(path, text)
        return
    buffer = io.BytesIO()
    in_bytes = np.frombuffer(json.dumps(head).encode(), np.uint8)
    np.savez_compressed(buffer, allow_pickle=False, **{_HEAD: in_bytes}, **arrays)
    write_atomically(path, buffer.getvalue())


def load_schedule(path: str | Path) -> Schedule | BlockSchedule:
    """The schedule in a file of `save_schedule`; it may leave out paths or clash, which `check` finds.

    Errors: E0357 if it holds no schedule, E0501, E0502, E0504 if it cannot be read.
    """
    try:
        return _schedule(*(_read_json(path) if _ending(path) == ".json" else _read_npz(path)))
    except _WrongError as wrong:
        raise error("E0357", f"`{path}` holds no schedule: {wrong}", help="write it with save_schedule") from None


class _WrongError(Exception):
    """What is wrong with a record."""


def _ending(path: str | Path) -> str:
    ending = Path(path).suffix
    if ending not in (".json", ".npz"):
        message = f"a schedule cannot be kept in `{path}`"
        raise error("E0357", message, help="call it .npz, or .json for other programs")
    return ending


def _head(schedule: Schedule | BlockSchedule) -> dict[str, Any]:
    if isinstance(schedule, Schedule):
        ends = {"source": _layout(schedule.source_banks), "destination": _layout(schedule.destination_banks)}
        return {"version": VERSION, "form": "table"} | ends
    ends = {
        name: _layout(end.layout) | {"columns": list(end.units.columns), "shift": end.units.shift}
        for name, end in (("source", schedule.source), ("destination", schedule.destination))
    }
    return {"version": VERSION, "form": "blocks", "paths": schedule.paths, "z": schedule.z} | ends


def _layout(banks: Banks) -> dict[str, Any]:
    return {"units": banks.units, "banks": banks.banks, "map": banks.map, "masks": list(banks.masks)}


def _arrays(schedule: Schedule | BlockSchedule) -> dict[str, NDArray[np.int64]]:
    if isinstance(schedule, BlockSchedule):
        return {}
    return {name: getattr(schedule, name) for name in _ARRAYS}


def _read_json(path: str | Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    record = _parsed(read_bounded(path, _LONGEST_JSON))
    arrays = {name: _array(record.pop(name), name) for name in _ARRAYS if name in record}
    return record, arrays


def _read_npz(path: str | Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    infos = npz_infos(path)
    if _HEAD not in infos or infos[_HEAD].dtype != "uint8" or not len(infos[_HEAD].shape) == 1:
        raise _WrongError(f"there are no bytes `{_HEAD}`")
    if infos[_HEAD].shape[0] > _LONGEST_HEAD:
        raise _WrongError(f"`{_HEAD}` has more than {_LONGEST_HEAD} bytes")
    arrays = read_npz(path)
    return _parsed(arrays.pop(_HEAD).tobytes()), arrays


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as reason:
        raise _WrongError(str(reason)) from None
    if not isinstance(record, dict):
        raise _WrongError("it is no JSON object")
    return cast("dict[str, Any]", record)


def _array(value: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except (ValueError, OverflowError, TypeError) as reason:
        raise _WrongError(f"`{name}` is no array: {reason}") from None


def _schedule(head: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Schedule | BlockSchedule:
    if head.get("version") != VERSION:
        raise _WrongError(f"its version is {head.get('version')!r:.40}, not {VERSION}")
    form = head.get("form")
    if not isinstance(form, str) or form not in _FIELDS:
        raise _WrongError(f"its form is {form!r:.40}, not table or blocks")
    if set(head) != _FIELDS[form] or set(arrays) != (set(_ARRAYS) if form == "table" else set()):
        arrays_of = f" and the arrays {', '.join(_ARRAYS)}" if form == "table" else ""
        raise _WrongError(f"a {form} has the fields {', '.join(sorted(_FIELDS[form]))}{arrays_of}")
    try:
        return _table(head, arrays) if form == "table" else _blocks(head)
    except PathcError as problem:
        raise _WrongError(problem.diagnostics[0].message) from None


def _table(head: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Schedule:
    ends = [_banks(_object(head, name), set()) for name in ("source", "destination")]
    return Schedule(arrays["lanes"], arrays["sources"], arrays["destinations"], *ends)


def _blocks(head: dict[str, Any]) -> BlockSchedule:
    paths, z = _integer(head, "paths", MAX_COUNT), _integer(head, "z", MAX_LANES)
    source, destination = _object(head, "source"), _object(head, "destination")
    more = {"columns", "shift"}
    read, written = _banks(source, more), _banks(destination, more)
    maps = _affine(source, read, paths), _affine(destination, written, paths)
    found = block_schedule(*maps, paths, z, read, written) if paths and z else None
    if found is None:
        raise _WrongError("sizes of blocks are powers of two, and z divides the paths")
    return found


def _banks(record: dict[str, Any], more: set[str]) -> Banks:
    fields = {"units", "banks", "map", "masks"} | more
    if set(record) != fields:
        raise _WrongError(f"an end has the fields {', '.join(sorted(fields))}")
    if not isinstance(record["map"], str):
        raise _WrongError("`map` is no text")
    units, banks = _integer(record, "units", MAX_COUNT), _integer(record, "banks", MAX_COUNT)
    return Banks(units, banks, record["map"][:40], _integers(record, "masks", MAX_COUNT))


def _affine(record: dict[str, Any], layout: Banks, paths: int) -> Affine:
    columns, shift = _integers(record, "columns", layout.units - 1), _integer(record, "shift", layout.units - 1)
    if len(columns) != max(paths - 1, 0).bit_length():
        raise _WrongError(f"{paths} paths have no {len(columns)} columns")
    return Affine(columns, shift)


def _object(record: dict[str, Any], name: str) -> dict[str, Any]:
    value = record[name]
    if not isinstance(value, dict):
        raise _WrongError(f"`{name}` is no JSON object")
    return cast("dict[str, Any]", value)


def _integers(record: dict[str, Any], name: str, most: int) -> tuple[int, ...]:
    values = record[name]
    if not isinstance(values, list) or len(cast("list[Any]", values)) > 64:
        raise _WrongError(f"`{name}` is no short list")
    return tuple(_integer({name: value}, name, most) for value in cast("list[Any]", values))


def _integer(record: dict[str, Any], name: str, most: int) -> int:
    value = record[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise _WrongError(f"`{name}` is no integer from 0 to {most}")
    return value
