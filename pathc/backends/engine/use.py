"""Programs from files, inputs for them, and what their outputs stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathc.backends.engine.files import assemble, from_bytes
from pathc.backends.engine.machine import Machine
from pathc.backends.engine.program import Program
from pathc.ir.inputs import check_input
from pathc.support.arrays import read_npy
from pathc.support.diagnostics import error
from pathc.support.files import read_bounded
from pathc.support.source import Source

_LONGEST = 1 << 28


def load_program(path: str | Path, machine: Machine | None = None) -> Program:
    """The program in an object file, or in assembly if the name ends in `.s`; raises E0501, E0502, E10xx."""
    data = read_bounded(path, _LONGEST)
    if Path(path).suffix.lower() != ".s":
        return from_bytes(data, machine)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise error("E0110", f"`{path}` is no UTF-8 text at byte {reason.start}", help="save it as UTF-8") from None
    program = assemble(Source(str(path), text))
    if machine is not None and machine != program.machine:
        raise error("E1024", f"`{path}` is for another machine", help="compile the model for this machine")
    return program


def inputs_for(program: Program, path: str | Path | None) -> NDArray[np.int64]:
    """Integers [samples, units] from a `.npy` file of numbers, or zeros; raises E0501 to E0513 and E1308 for NaN."""
    rows = many_inputs(program, path, program.samples)
    if len(rows) != program.samples:
        message = f"`{path}` holds {len(rows)} samples, the program takes {program.samples}"
        raise error("E0512", message, help=f"compile it with --batch {len(rows)}")
    return rows


def many_inputs(program: Program, path: str | Path | None, zeros: int = 8) -> NDArray[np.int64]:
    """The same for any number of samples, or as many of zeros as asked for."""
    units = sum(port.units for port in program.inputs)
    if path is None:
        return np.zeros((zeros, units), np.int64)
    values = read_npy(path)
    check_input(values, (units,), f"`{path}`")
    rows = np.atleast_2d(values).astype(np.float64)
    if np.isnan(rows).any():
        raise error("E1308", f"`{path}` holds NaN")
    return program.quantized(rows)


def outputs_of(program: Program, stored: NDArray[np.int32]) -> NDArray[np.float64]:
    """Outputs as numbers, float64 [samples, units]; those given as sums are before the activations of their station."""
    return program.integers(stored) * program.output_scales
