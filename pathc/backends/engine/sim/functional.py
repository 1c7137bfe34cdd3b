"""Values without cycles: instructions one after the other, each as it is declared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pathc.backends.engine.isa import State
from pathc.backends.engine.program import Program
from pathc.backends.engine.unroll import bounded, unrolled


def execute(program: Program, inputs: NDArray[np.int64]) -> NDArray[np.int32]:
    """What a program stores, int32 [rows, lanes], for integer inputs [samples, units], in the order of its text.

    The same as `simulate` for every program that the static checker accepts. Raises PathcError as `simulate`, without
    dead-locks.
    """
    bounded(program)
    state = State(program.machine, program.memories(inputs))
    for _, each, context in unrolled(program):
        each.operation.meaning(state, each.fields, context)
    return state.outputs
