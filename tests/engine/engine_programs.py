"""Programs for tests: hand-made ones and random ones."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from pathc.backends.engine.isa import BY_NAME, OPERATIONS, Instruction, instruction
from pathc.backends.engine.machine import Machine
from pathc.backends.engine.program import Port, Program

SMALL = Machine(lanes=4, activation_rows=8, accumulator_rows=8)


def make(name: str, **fields: int) -> Instruction:
    return instruction(BY_NAME[name], **fields)


def program(*code: Instruction, machine: Machine = SMALL, seed: int = 0, rows: int = 8) -> Program:
    """A program of these instructions over random data; slot settings 0 .. 31 count steps up in both rows."""
    rng = np.random.default_rng(seed)
    z = machine.lanes
    config = [0, 0, 0, *(1 << k | 1 << (11 + k) | (1 << k) % z << 22 for k in range(3))]
    tables = rng.integers(0, 4, (rows, z)) | rng.integers(0, 4, (rows, z)) << 11
    tables |= rng.integers(0, z, (rows, z)) << 22 | 1 << 30
    parameters = np.zeros((rows, z, 4), np.int32)
    parameters[..., 0] = rng.integers(-50, 50, (rows, z))
    parameters[..., 1] = parameters[..., 2] = 3
    parameters[..., 3] = 7
    return Program(
        name="made", machine=machine, code=code, config=np.array(config, np.uint32),
        weights=rng.integers(0, 256, 64 * z, dtype=np.uint8).tobytes(),
        tables=tables.astype(np.uint32), parameters=parameters, samples=1,
        inputs=(Port("x", rows * z, 0.5, -128, 127),),
        input_map=np.arange(rows * z, dtype=np.int32).reshape(rows, z),
        outputs=(Port("y", 2 * z, 0.0, -128, 127),),
        output_map=np.arange(2 * z, dtype=np.int32), output_scales=np.ones(2 * z), output_rows=2,
        places=("somewhere", "else"), place_of=tuple(k % 2 for k in range(len(code))),
    )  # fmt: skip


@st.composite
def instructions(draw: st.DrawFn) -> Instruction:
    """Any instruction with any fields."""
    operation = draw(st.sampled_from(OPERATIONS))
    values = [draw(st.integers(field.low, field.high)) for field in operation.fields]
    tokens = st.integers(0, 63)
    return Instruction(operation, tuple(values), draw(tokens), draw(tokens), draw(st.integers(0, 15)))
