"""Codes E10xx: machine descriptions, assembly, object files and programs of the path engine."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = (
    Code(
        "E1001",
        "a machine description that is no TOML",
        "The machine of the engine is described in TOML. The message says where the text cannot be read. "
        "An empty file is the default machine.",
    ),
    Code(
        "E1002",
        "unknown entry of a machine description",
        "A machine description has the sections and entries that docs/engine.md lists, each of one type. One was "
        "given that is none of them, or one of another type.",
    ),
    Code(
        "E1003",
        "a machine that cannot be built",
        "An entry of a machine description is out of its range: lanes are a power of two from 4 to 256, memories "
        "have at most as many rows as an instruction can address. The message names the entry and its range.",
    ),
    Code(
        "E1004",
        "a word that is no instruction",
        "The 128 bits at the named offset do not decode: the opcode is not used, the unit is not that of the opcode, a "
        "reserved bit is set, or a field is out of its range.",
    ),
    Code(
        "E1005",
        "an instruction that cannot be encoded",
        "A field of an instruction holds a number that does not fit into its bits, or a field is missing or unknown.",
    ),
    Code(
        "E1010",
        "weights that were not loaded",
        "A program takes rows of weights from the FIFO that no LDW puts there, so the lanes would wait for ever. The "
        "rows of all LDW and those that PATH, TPATH and DENSE take must be the same number.",
    ),
    Code(
        "E1011",
        "an address beyond a memory",
        "An instruction uses rows that a memory of this machine, or what the program brings with it, does not have. "
        "Compile the model for this machine.",
    ),
)
