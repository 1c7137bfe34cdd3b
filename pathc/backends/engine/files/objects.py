"""Object files (`.pe`): a program as bytes, and back; every byte that is read counts as hostile."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pathc.backends.engine.files.sections import frame, unframe, wrong
from pathc.backends.engine.isa import BY_CODE, ISA_VERSION, WORD_BYTES, decode
from pathc.backends.engine.machine import Machine
from pathc.backends.engine.program import Port, Program
from pathc.ir.quantized import TABLE
from pathc.support.diagnostics import PathcError, error
from pathc.support.files import read_bounded

_LONGEST = 1 << 28
_MOST_SAMPLES = 1 << 16
_MOST_ROWS = 1 << 20
_ARRAYS: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "config": ("<u4", ()),
    "tables": ("<u4", ("lanes",)),
    "parameters": ("<i4", ("lanes", 4)),
    "curves": ("u1", (TABLE,)),
    "input map": ("<i4", ("lanes",)),
    "output map": ("<i4", ()),
    "output scales": ("<f8", ()),
}
_META = ("name", "machine", "samples", "steps", "lockstep", "inputs", "outputs", "output_rows", "work", "places",
         "place_of")  # fmt: skip


def to_bytes(program: Program) -> bytes:
    """The object file of a program."""
    return frame(ISA_VERSION, program.machine.hash, sections_of(program))


def sections_of(program: Program) -> dict[str, bytes]:
    """What stands in the sections of the object file of a program."""
    meta = {
        "name": program.name,
        "machine": asdict(program.machine),
        "samples": program.samples,
        "steps": program.steps,
        "lockstep": program.lockstep,
        "inputs": [asdict(port) for port in program.inputs],
        "outputs": [asdict(port) for port in program.outputs],
        "output_rows": program.output_rows,
        "work": program.work,
        "places": list(program.places),
        "place_of": list(program.place_of),
    }
    sections = {
        "meta": json.dumps(meta, separators=(",", ":")).encode(),
        "code": b"".join(each.encode() for each in program.code),
        "weights": program.weights,
    }
    for name, (dtype, _) in _ARRAYS.items():
        sections[name] = getattr(program, name.replace(" ", "_")).astype(dtype).tobytes()
    return sections


def read_program(path: str | Path, machine: Machine | None = None) -> Program:
    """The program in a file, E0501 and E0502 if it cannot be read; raises as `from_bytes`."""
    return from_bytes(read_bounded(path, _LONGEST), machine)


def from_bytes(data: bytes, machine: Machine | None = None) -> Program:
    """The program in an object file, which must be for `machine` if one is given.

    Raises PathcError: E1020 to E1023 with the offset, E1004 for a word that is no instruction, E1024 for another
    machine.
    """
    hash, sections = unframe(data, ISA_VERSION)
    meta = _Meta(*sections["meta"])
    made_for = meta.machine()
    if hash != made_for.hash:
        raise error("E1024", "the hash of the machine at offset 16 is not that of the machine the file describes")
    if machine is not None and machine.hash != hash:
        message = f"the program is for another machine: {_difference(made_for, machine)}"
        raise error("E1024", message, help="compile the model for this machine")
    arrays = {name: _array(name, *sections[name], made_for) for name in _ARRAYS}
    at, code = sections["code"]
    if len(code) % WORD_BYTES or len(code) > made_for.program_words * WORD_BYTES:
        raise wrong(at, f"{len(code)} bytes of code, of at most {made_for.program_words} words of 16 bytes")
    words = tuple(decode(code[k : k + WORD_BYTES], BY_CODE, at + k) for k in range(0, len(code), WORD_BYTES))
    for name, limit in (("config", made_for.config_words), ("tables", made_for.table_rows),
                        ("parameters", made_for.parameter_rows), ("curves", made_for.curves)):  # fmt: skip
        if len(arrays[name]) > limit:
            raise wrong(sections[name][0], f"{len(arrays[name])} rows of `{name}`, the machine has {limit}")
    program = Program(
        name=meta.text("name"),
        machine=made_for,
        code=words,
        config=arrays["config"],
        weights=sections["weights"][1],
        tables=arrays["tables"],
        parameters=arrays["parameters"],
        curves=arrays["curves"],
        samples=meta.integer("samples", 1, _MOST_SAMPLES),
        steps=meta.integer("steps", 0, _MOST_SAMPLES),
        lockstep=meta.integer("lockstep", 1, _MOST_SAMPLES),
        inputs=meta.ports("inputs"),
        input_map=arrays["input map"],
        outputs=meta.ports("outputs"),
        output_map=arrays["output map"],
        output_scales=arrays["output scales"],
        output_rows=meta.integer("output_rows", 0, 1 << 24),
        work=meta.integer("work", 0, 1 << 48),
        places=meta.texts("places"),
        place_of=meta.integers("place_of"),
    )
    _consistent(program, meta.offset, {name: where for name, (where, _) in sections.items()})
    return program


def machine_of(meta: bytes) -> Machine:
    """The machine that the section `meta` describes; E1023 if it does not."""
    return _Meta(0, meta).machine()


def _consistent(program: Program, meta: int, offsets: dict[str, int]) -> None:
    """Raise E1023 unless the parts of a program fit each other."""
    ins, outs = (sum(port.units for port in ports) for ports in (program.inputs, program.outputs))
    cells = program.output_rows * program.machine.lanes
    parameters = program.parameters.astype(np.int64)
    rows = len(program.input_map) * program.rows, cells * program.rows
    for okay, at, what in (
        (len(program.place_of) == len(program.code), meta, "places of other instructions than there are"),
        (all(0 <= k < len(program.places) for k in program.place_of), meta, "a place that is not listed"),
        (_range(program.input_map, -1, ins), offsets["input map"], "units that the inputs do not have"),
        (_range(program.output_map, 0, cells), offsets["output map"], "rows that the outputs do not have"),
        (len(program.output_map) == len(program.output_scales) == outs, offsets["output map"],
         "other outputs than their stations have"),
        (bool(np.isfinite(program.output_scales).all()), offsets["output scales"], "a scale that is not finite"),
        (_range(parameters[..., 1:3], -(1 << 16) + 1, 1 << 16), offsets["parameters"], "multipliers beyond 16 bits"),
        (_range(parameters[..., 3], 0, 63), offsets["parameters"], "a shift outside 0 .. 62"),
        (program.rows <= _MOST_ROWS and max(rows) * 4 <= _LONGEST, meta, "more samples or steps than there is room"),
    ):  # fmt: skip
        if not okay:
            raise wrong(at, what)


def _range(values: NDArray[Any], low: int, stop: int) -> bool:
    return values.size == 0 or bool(low <= values.min() and values.max() < stop)


def _array(name: str, offset: int, data: bytes, machine: Machine) -> NDArray[Any]:
    dtype, shape = _ARRAYS[name]
    row = tuple(machine.lanes if extent == "lanes" else int(extent) for extent in shape)
    size = np.dtype(dtype).itemsize * math.prod(row)
    if len(data) % size:
        raise wrong(offset, f"{len(data)} bytes of `{name}`, which are rows of {size}")
    return np.frombuffer(data, dtype).reshape(-1, *row).astype(np.dtype(dtype).newbyteorder("="))


def _difference(theirs: Machine, ours: Machine) -> str:
    name = next(f.name for f in fields(Machine) if getattr(theirs, f.name) != getattr(ours, f.name))
    return f"`{name}` is {getattr(theirs, name)} there and {getattr(ours, name)} here"


class _Meta:
    """The JSON of an object file, of which every entry is checked before it is used."""

    def __init__(self, offset: int, data: bytes) -> None:
        self.offset = offset
        try:
            content = json.loads(data.decode(), parse_constant=_no_constant)
        except (ValueError, RecursionError) as reason:
            raise wrong(offset, f"no JSON: {str(reason)[:80]}") from None
        if not isinstance(content, dict) or tuple(cast("dict[str, Any]", content)) != _META:
            raise wrong(offset, f"other entries than {', '.join(_META)}")
        self.content = cast("dict[str, Any]", content)

    def machine(self) -> Machine:
        """The machine; its own errors name the entry."""
        entries = self._entries(self.content["machine"], [f.name for f in fields(Machine)], "machine")
        try:
            return Machine(**entries)
        except PathcError as reason:
            raise PathcError(
                *(d.note(f"in the object file at offset {self.offset}") for d in reason.diagnostics)
            ) from None

    def ports(self, name: str) -> tuple[Port, ...]:
        """Stations; 1 to 4096 of them."""
        known = [f.name for f in fields(Port)]
        return tuple(self._port(self._entries(each, known, name), name) for each in self._list(name, 1, 1 << 12))

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(self._checked(each, str, name) for each in self._list(name, 0, 1 << 16))

    def integers(self, name: str) -> tuple[int, ...]:
        """A list of integers."""
        return tuple(self._checked(each, int, name) for each in self._list(name, 0, 1 << 16))

    def text(self, name: str) -> str:
        """A text of at most 1000 characters."""
        found = self._checked(self.content[name], str, name)
        return found if len(found) <= 1000 else self._fail(name)

    def integer(self, name: str, low: int, high: int) -> int:
        """An integer within [low, high]."""
        found = self._checked(self.content[name], int, name)
        return found if low <= found <= high else self._fail(name)

    def _port(self, entries: dict[str, Any], name: str) -> Port:
        checks: dict[str, Callable[[Any], bool]] = {
            "name": lambda v: type(v) is str and len(v) <= 1000,
            "units": lambda v: type(v) is int and 1 <= v <= 1 << 24,
            "scale": lambda v: type(v) is float and math.isfinite(v) and v >= 0,
            "low": lambda v: type(v) is int and abs(v) <= 1 << 31,
            "high": lambda v: type(v) is int and abs(v) <= 1 << 31,
            "wide": lambda v: type(v) is bool,
        }
        for key, check in checks.items():
            if not check(entries[key]) or (key == "scale" and name == "inputs" and not entries[key]):
                self._fail(f"{name}.{key}")
        return Port(**entries)

    def _entries(self, value: Any, known: Sequence[str], name: str) -> dict[str, Any]:
        if not isinstance(value, dict) or list(cast("dict[str, Any]", value)) != list(known):
            self._fail(name)
        return cast("dict[str, Any]", value)

    def _list(self, name: str, low: int, high: int) -> list[Any]:
        value = self.content[name]
        if not isinstance(value, list) or not low <= len(cast("list[Any]", value)) <= high:
            self._fail(name)
        return cast("list[Any]", value)

    def _checked(self, value: Any, kind: type, name: str) -> Any:
        return value if type(value) is kind else self._fail(name)

    def _fail(self, name: str) -> Any:
        raise wrong(self.offset, f"a wrong entry `{name}`")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number here")
