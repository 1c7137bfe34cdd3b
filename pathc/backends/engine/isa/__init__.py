"""The instructions of the engine: each is declared once, with fields, assembly text, meaning and cycles."""

from __future__ import annotations

from pathc.backends.engine.isa.operations import BY_CODE, BY_NAME, ISA_VERSION, OPERATIONS
from pathc.backends.engine.isa.state import Activity, Context, Memories, State
from pathc.backends.engine.isa.word import (
    WORD_BYTES,
    Field,
    Instruction,
    Operation,
    Timing,
    Unit,
    decode,
    instruction,
)

__all__ = [
    "BY_CODE",
    "BY_NAME",
    "ISA_VERSION",
    "OPERATIONS",
    "WORD_BYTES",
    "Activity",
    "Context",
    "Field",
    "Instruction",
    "Memories",
    "Operation",
    "State",
    "Timing",
    "Unit",
    "decode",
    "instruction",
]
