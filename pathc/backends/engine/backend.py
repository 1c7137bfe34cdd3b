"""The target named `engine`: programs for the path engine, run by its functional simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathc.backends.base import Request
from pathc.backends.engine.array.choice import Choice, as_text, choices, simulated
from pathc.backends.engine.array.gemmini import gemmini_text
from pathc.backends.engine.files import disassemble, listing, to_bytes
from pathc.backends.engine.lower import lower
from pathc.backends.engine.machine import Machine, read_machine
from pathc.backends.engine.program import Program
from pathc.backends.engine.sim.functional import execute
from pathc.backends.engine.verilog.emit import engine_text
from pathc.ir.cells import is_recurrent, without_cells
from pathc.ir.compress.quantize import quantize
from pathc.ir.facts import Scale
from pathc.ir.graph import Graph
from pathc.ir.interp import supports
from pathc.ir.interp.network import activations_of, input_rows
from pathc.ir.misfits import flat_only
from pathc.ir.quantized import IntegerNetwork, integer_forward, integer_network
from pathc.ir.quantized.cells import gated
from pathc.ir.types import Value
from pathc.support.diagnostics import Diagnostic, PathcError, Severity, UsageError, did_you_mean, error

_CALIBRATION = 256
_STEPS = 16
_MOST_STEPS = 1 << 16
_EMITS = ("engine", "pe", "asm", "machine", "array", "gemmini", "verilog")


@dataclass(frozen=True, eq=False)
class Assembled:
    """A net as a program for the engine."""

    network: IntegerNetwork
    program: Program
    notes: tuple[Diagnostic, ...] = ()
    others: dict[int, Program] = field(default_factory=dict[int, Program])

    @cached_property
    def name(self) -> str:
        """The name of the model."""
        return self.program.name

    def __call__(self, x: NDArray[Any], /) -> NDArray[Any]:
        """Outputs in float64, [batch, units] or [units], of sequences with steps before the units.

        Sequences of another length than the program's get a program of their own. Raises PathcError: E0512, E0513 and
        E1308 for inputs that do not fit, E1051 for sequences that do not.
        """
        rows, layout = input_rows(self.network.graph, np.asarray(x))
        inputs = self.network.graph.inputs
        values = np.concatenate([rows[each.name][:, : each.real_units] for each in inputs], axis=1)
        if np.isnan(values).any():
            raise error("E1308", "the input holds NaN", self.network.graph.loc)
        program = self._program_for(layout.steps)
        integers = program.quantized(values)
        parts: list[NDArray[np.int64]] = []
        for start in range(0, len(integers), program.rows):
            part = integers[start : start + program.rows]
            missing = program.rows - len(part)
            found = program.integers(execute(program, np.pad(part, ((0, missing), (0, 0)))))
            parts.append(found[: len(part)])
        found = np.concatenate([np.zeros((0, len(program.output_map)), np.int64), *parts])
        outputs = self._numbers(found * program.output_scales)
        return layout.shaped(outputs, outputs.shape[1:])

    def _program_for(self, steps: int) -> Program:
        """The program for sequences of so many steps, 0 for a net without cells."""
        if steps == self.program.steps:
            return self.program
        if steps not in self.others:
            self.others[steps] = lower(self.network, self.program.machine, self.program.samples, steps)
        return self.others[steps]

    def _numbers(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Outputs given as sums go through the activations of their stations in floating point."""
        start = 0
        for port in self.program.outputs:
            own = slice(start, start + port.units)
            if port.wide:
                for function in activations_of(self.network.graph.station(port.name)):
                    values[:, own] = function.apply(values[:, own])
            start += port.units
        return values

    def _drawn(self) -> dict[str, NDArray[np.int64]]:
        """Random integer inputs for as many samples as the program takes."""
        rng = np.random.default_rng(0)
        rows: dict[str, NDArray[np.int64]] = {}
        for station in self.network.graph.inputs:
            format = self.network.station(station.name).format
            assert format is not None
            drawn = rng.integers(format.low, format.high + 1, (self.program.samples, station.real_units))
            rows[station.name] = np.pad(drawn, ((0, 0), (0, station.units - station.real_units)))
        return rows

    @property
    def roundoff(self) -> float:
        """Nothing: outputs are computed from the integers as the interpreter does."""
        return 0.0

    def integer_reference(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """What the integer interpreter makes of the same inputs: outputs must be equal."""
        return integer_forward(self.network, x)

    def emit(self, kind: str) -> str | bytes:
        """`engine` instructions with their places, `pe` the object file, `asm` the whole program, `machine` TOML,
        `verilog` the engine for that machine as hardware.

        `array` are lanes and array for every junction, by closed forms and simulated; with an array in the machine,
        `engine` ends with the closed forms as comments. `gemmini` are Gemmini words for every junction.
        """
        match kind:
            case "engine" if self.program.steps or not self.program.machine.dim:
                return listing(self.program)
            case "engine":
                found = choices(self.network, self.program.machine, self.program.samples)
                return listing(self.program) + _shown(found, self.program)
            case "array" | "gemmini" if self.program.steps:
                raise PathcError(*without_cells(self.network.graph, "the array has"))
            case "array":
                return _shown(simulated(self.network, self.program.machine, self._drawn()), self.program)
            case "gemmini":
                return gemmini_text(self.network, self.program.machine, self.program.samples)
            case "pe":
                return to_bytes(self.program)
            case "asm":
                return disassemble(self.program)
            case "machine":
                return self.program.machine.as_toml()
            case "verilog":
                return engine_text(self.program.machine)
            case _:
                hint = did_you_mean(kind, _EMITS) or f"it shows {', '.join(_EMITS)}"
                raise error("E0804", f"the target `engine` has no stage `{kind}`", help=hint)


def _shown(found: list[Choice], program: Program) -> str:
    return as_text(found, program.machine)


class Engine:
    """The target named `engine`."""

    name = "engine"
    summary = "instruction streams for the path engine: integers, banked memories, exact cycles"
    emits = _EMITS

    def unavailable(self) -> str:
        """Empty: NumPy is always there."""
        return ""

    def refusals(self, graph: Graph) -> list[Diagnostic]:
        """Stages that nothing evaluates yet (E0610), extents (E0379), and cells with gates (E1303)."""
        return supports(graph) or flat_only(graph, "the engine has") or list(gated(graph))

    def compile(self, request: Request) -> Assembled:
        """The program for `request.batch` samples a run (1 if open), of nets with cells for `steps` steps (16).

        A graph that is not quantized is quantized to i8 here, calibrated on random inputs, with a note. Raises
        PathcError: E13xx for what integers cannot do, E1050 and E1051, E1001 to E1003 for the machine; UsageError
        E0806 for options.
        """
        if request.forms:
            text = f"the target `engine` has no kernel form `{next(iter(request.forms.values()))}`"
            raise UsageError(Diagnostic("E0806", text, help="it has none"))
        options = dict(request.options)
        steps = _steps(options.pop("steps", _STEPS))
        machine = machine_of(options)
        graph, tensors, notes = request.graph, request.stored or request.weights, ()
        if not any(True for _ in graph.facts_of(Scale)):
            units = sum(station.real_units for station in graph.inputs)
            size = (_CALIBRATION // _STEPS, _STEPS) if is_recurrent(graph) else (_CALIBRATION,)
            drawn = np.random.default_rng(0).random((*size, units))
            made = quantize(graph, tensors, data=drawn)
            graph, tensors = made.graph, made.tensors
            text = f"`{graph.name}` is quantized to 8 bits and calibrated on random inputs in [0, 1)"
            help = "`pathc quantize --data` calibrates on data; other inputs may be clamped or lose bits"
            notes = (Diagnostic("W1001", text, help=help, severity=Severity.NOTE),)
        network = integer_network(graph, tensors, machine.accumulator_bits)
        return Assembled(network, lower(network, machine, request.batch or 1, steps), notes)


def _steps(value: Value) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_STEPS:
        text = f"the target `engine` has no option `steps` with the value `{value}`"
        raise UsageError(Diagnostic("E0806", text, help=f"steps of a sequence, from 1 to {_MOST_STEPS}"))
    return value


def machine_of(options: Mapping[str, Value]) -> Machine:
    """The machine of target options: `machine = file.toml`, and entries of the description that replace its own."""
    known = [f.name for f in fields(Machine)]
    path = options.get("machine")
    machine = read_machine(str(path)) if path is not None else Machine()
    entries: dict[str, int] = {}
    for name, value in options.items():
        if name == "machine":
            continue
        if name not in known or isinstance(value, bool) or not isinstance(value, int):
            hint = did_you_mean(name, known) or f"`machine=FILE`, `steps=N`, or integers: {', '.join(known)}"
            text = f"the target `engine` has no option `{name}` with the value `{value}`"
            raise UsageError(Diagnostic("E0806", text, help=hint))
        entries[name] = value
    try:
        return replace(machine, **entries)
    except PathcError as reason:
        raise UsageError(*reason.diagnostics) from None


BACKEND = Engine()
