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
    """Integers [rows, units] from a `.npy` file of numbers, or zeros; raises E0501 to E0513 and E1308 for NaN.

    Sequences are [samples, steps, units] or [steps, units].
    """
    rows, shape = _inputs(program, path, program.rows)
    wanted = (program.samples, program.steps) if program.steps else (program.samples,)
    if shape != wanted:
        held, cure = f"{shape[0]} samples", f"--batch {shape[0]}"
        if program.steps:
            held, cure = f"{held} of {shape[1]} steps", f"{cure} -t engine{{steps={shape[1]}}}"
        takes = " of ".join(f"{n} {what}" for n, what in zip(wanted, ("samples", "steps"), strict=False))
        raise error("E0512", f"`{path}` holds {held}, the program takes {takes}", help=f"compile it with {cure}")
    return rows


def many_inputs(program: Program, path: str | Path | None) -> NDArray[np.int64]:
    """The same for any number of samples, or eight of zeros."""
    return _inputs(program, path, 8)[0]


def _inputs(program: Program, path: str | Path | None, zeros: int) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Rows of integers, and the shape in front of the units."""
    units = sum(port.units for port in program.inputs)
    if path is None:
        whole = (program.samples, program.steps) if program.steps else (program.samples,)
        return np.zeros((zeros, units), np.int64), whole
    values = read_npy(path)
    check_input(values, (units,), f"`{path}`", sequences=program.steps > 0)
    shape = values.shape[:-1] if values.ndim == 2 + (program.steps > 0) else (1, *values.shape[:-1])
    rows = values.reshape(-1, units).astype(np.float64)
    if np.isnan(rows).any():
        raise error("E1308", f"`{path}` holds NaN")
    return program.quantized(rows), shape


def outputs_of(program: Program, stored: NDArray[np.int32]) -> NDArray[np.float64]:
    """Outputs as numbers, float64 [samples, units] or [samples, steps, units].

    Those given as sums are before the activations of their station.
    """
    found = program.integers(stored) * program.output_scales
    return found.reshape(program.samples, program.steps, -1) if program.steps else found
