"""The engine for one machine as Verilog text: definitions made from machine and instructions, and the modules."""

from __future__ import annotations

from pathc.backends.engine.isa import OPERATIONS, Unit
from pathc.backends.engine.isa.operations import READ
from pathc.backends.engine.isa.state import SLOT_WORDS
from pathc.backends.engine.isa.word import HEAD, HEAD_BITS
from pathc.backends.engine.machine import FORMATS, Machine
from pathc.backends.engine.verilog import module_text

ENGINE = ("pe_permuter", "pe_queue", "pe_dispatch", "pe_load", "pe_execute", "pe_activate", "pe_bank", "pe_engine")
"""The modules of an engine, those used by others first."""


def engine_text(machine: Machine) -> str:
    """Everything of the synthesizable engine for a machine in one Verilog-2005 file; its top is `pe_engine`."""
    head = (
        "// The path engine. Definitions are made from the machine and from the declaration of its instructions.\n"
        + "".join(f"// {line}\n" for line in machine.as_toml().splitlines())
    )
    return "\n".join((head, definitions(machine), *(module_text(name) for name in ENGINE)))


def definitions(machine: Machine) -> str:
    """The sizes of a machine, opcodes, and the bits of every field, as macros."""
    values = {
        "LANES": machine.lanes,
        "LANE_BITS": machine.lane_bits,
        "ACC": machine.accumulator_bits,
        "ROWS": machine.activation_rows,
        "ROWS_BITS": _bits(machine.activation_rows - 1),
        "SUMS": machine.accumulator_rows,
        "SUMS_BITS": _bits(machine.accumulator_rows - 1),
        "FORWARDING": machine.forwarding,
        "TABLES": int(machine.table_rows > 0),
        "FIFO": machine.fifo,
        "FIFO_BITS": _bits(machine.fifo),
        "QUEUE": machine.queue,
        "QUEUE_BITS": _bits(machine.queue),
        "ROW_INTERVAL": machine.row_interval,
        "MEMORY_LATENCY": machine.memory_latency,
        "WEIGHT_LATENCY": machine.weight_latency,
        **{f"WEIGHT_INTERVAL_{n}": machine.weight_interval(name) for n, name in enumerate(FORMATS)},
        "SLOT_WORDS": SLOT_WORDS,
    }
    lines = [f"`define PE_{name} {value}" for name, value in values.items()]
    start = 0
    for name, bits in HEAD:
        lines.append(f"`define PE_{name} {start + bits - 1}:{start}")
        start += bits
    for operation in OPERATIONS:
        lines.append(f"`define PE_OP_{operation.name} 5'd{operation.code}")
        start = HEAD_BITS
        for field in operation.fields:
            lines.append(f"`define PE_{operation.name}_{field.name} {start + field.bits - 1}:{start}")
            start += field.bits
        if operation.unit is Unit.EX:
            lines.append(f"`define PE_{operation.name}_read {start - 1}:{start - sum(f.bits for f in READ)}")
    start = 0
    for field in READ:
        lines.append(f"`define PE_READ_{field.name} {start + field.bits - 1}:{start}")
        start += field.bits
    lines.append(f"`define PE_READ_BITS {start}")
    return "\n".join((*lines, ""))


def _bits(value: int) -> int:
    """Bits that hold the numbers 0 .. value."""
    return max(1, value.bit_length())
