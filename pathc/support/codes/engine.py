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
        "E1020",
        "no object file of the engine",
        "Object files (`.pe`) begin with a magic number, and this one does not. They are written by "
        "`pathc compile -t engine -o net.pe`.",
    ),
    Code(
        "E1021",
        "an object file of another version",
        "Encodings, meanings and cycles of the instructions belong to a version, and object files are read by the "
        "version that wrote them only. Compile the model again.",
    ),
    Code(
        "E1022",
        "a damaged object file",
        "The checksum at the end of the object file is not that of what stands before it: the file was changed or cut "
        "off on its way.",
    ),
    Code(
        "E1023",
        "an object file that contradicts itself",
        "The checksum is right, but what stands at the named offset cannot be: a section of a wrong size, a unit the "
        "stations do not have, a number out of its range. Such a file was not written by pathc.",
    ),
    Code(
        "E1024",
        "a program for another machine",
        "Every object file carries the description of the machine it was compiled for, and its hash. The machine that "
        "was given differs from it in the entry the message names.",
    ),
    Code(
        "E1030",
        "assembly that cannot be read",
        "A line of assembly names an instruction, then `field=number` pairs, then `wait=0+1`, `post=2` and `tag=3`; "
        "the first line is `engine` and the version. docs/engine.md lists instructions and fields.",
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
