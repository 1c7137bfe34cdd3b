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
        tables=tables.astype(np.uint32), parameters=parameters,
        curves=rng.integers(0, 256, (2, 256), dtype=np.uint8), samples=1,
        inputs=(Port("x", rows * z, 0.5, -128, 127),),
        input_map=np.arange(rows * z, dtype=np.int32).reshape(rows, z),
        outputs=(Port("y", 2 * z, 0.0, -128, 127),),
        output_map=np.arange(2 * z, dtype=np.int32), output_scales=np.ones(2 * z), output_rows=2, work=16,
        places=("somewhere", "else"), place_of=tuple(k % 2 for k in range(len(code))),
    )  # fmt: skip


@st.composite
def instructions(draw: st.DrawFn) -> Instruction:
    """Any instruction with any fields."""
    operation = draw(st.sampled_from(OPERATIONS))
    values = [draw(st.integers(field.low, field.high)) for field in operation.fields]
    tokens = st.integers(0, 63)
    return Instruction(operation, tuple(values), draw(tokens), draw(tokens), draw(st.integers(0, 15)))


def _rows(draw: st.DrawFn, name: str) -> dict[str, int]:
    """Fields of an instruction that stay within the small machine, most of the time in the same few rows."""
    row, count = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    match name:
        case "CFG":
            return {"slot": draw(st.integers(0, 1)), "words": draw(st.integers(3, 6))}
        case "LDA" | "STA":
            extra = {"wide": draw(st.integers(0, 1))} if name == "STA" else {}
            address = draw(st.integers(0, 1)) if name == "LDA" else 0
            count = min(count, 2)
            return {"buffer": draw(st.integers(0, 1)), "row": row, "rows": count, "address": address, **extra}
        case "LDW":
            return {"rows": draw(st.integers(1, 12)), "format": draw(st.integers(0, 2))}
        case "PATH" | "TPATH" | "DENSE" | "BAND":
            own = {"rows": count, "bits": draw(st.integers(0, 2))} if name == "DENSE" else {"steps": 2 * count}
            own = band(draw, count) if name == "BAND" else own
            own |= {"slot": draw(st.integers(0, 1))} if name == "PATH" else {}
            return {**own, "buffer": draw(st.integers(0, 1)), "source": draw(st.integers(0, 1)),
                    "sum": draw(st.integers(0, 1)), "hold": draw(st.integers(1, 2))}  # fmt: skip
        case "ACT":
            return {"slot": draw(st.integers(0, 1)), "fold": draw(st.integers(0, 2)), "sum": row, "rows": count,
                    "wide": draw(st.integers(0, 1)), "buffer": draw(st.integers(0, 1)), "row": row,
                    "low": -128, "high": 127, "curve": draw(st.integers(0, 2))}  # fmt: skip
        case _:
            return {}


def band(draw: st.DrawFn, rows: int) -> dict[str, int]:
    """Fields of BAND: diagonals that lie within the neighbouring banks."""
    first = draw(st.integers(-rows, rows))
    return {"rows": rows, "first": first, "diagonals": draw(st.integers(1, rows - first + 1))}


@st.composite
def running(draw: st.DrawFn, machine: Machine = SMALL) -> Program:
    """Programs that stay within their memories; some stop for ever, some race, some do neither."""
    names = draw(st.lists(st.sampled_from(["CFG", "LDA", "STA", "LDW", "LDW", "PATH", "TPATH", "DENSE", "BAND", "ACT",
                                           "ACT", "SYNC", "SWAP"]), max_size=10))  # fmt: skip
    units = st.sampled_from(["LD", "WS", "EX", "PP", "ST"])
    pairs = [(draw(units), draw(units)) for _ in range(3)]
    code: list[Instruction] = []
    for name in names:
        each = make(name, **_rows(draw, name))
        for kind, (giver, taker) in enumerate(pairs):
            if draw(st.booleans()):
                post, wait = each.unit.name == giver, each.unit.name == taker and giver != taker
                each = each.with_tokens(wait=wait << kind, post=(post and not wait) << kind)
        code.append(each)
    if code and draw(st.booleans()):
        code.append(make("LOOP", length=draw(st.integers(1, len(code))), count=draw(st.integers(1, 3))))
    if draw(st.booleans()):
        missing = sum(
            e.operation.timing(machine, e.fields).pops - e.operation.timing(machine, e.fields).pushes for e in code
        )
        if missing > 0:
            code.insert(0, make("LDW", rows=missing))
    return program(*code, make("HALT"), machine=machine, seed=draw(st.integers(0, 9)))
