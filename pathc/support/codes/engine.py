"""Codes E10xx: machine descriptions, assembly, object files and programs of the path engine."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = (
    Code(
        "W1001",
        "quantized without data",
        "The engine computes with integers. A graph without number formats is quantized where it is compiled, and the "
        "range of every station is taken from random inputs. `pathc quantize --data` takes it from data.",
    ),
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
        "An instruction uses rows that a memory of this machine, or what the program brings with it, does not have, or "
        "diagonals that reach beyond the bank beside a lane's own. Compile the model for this machine.",
    ),
    Code(
        "E1040",
        "a dead-lock",
        "Units wait for tokens, weights or room that nobody will give any more. The message names what each of them "
        "waits for. Compiled programs do not do this; a program written by hand needs another order or tokens.",
    ),
    Code(
        "E1041",
        "two units that race",
        "Two instructions of different units use the same rows of a memory, one of them writing, or both write into "
        "the same buffer, and no token, queue or SYNC says which comes first. What is read would depend on the speed "
        "of the memories. Let one wait for a token that the other gives.",
    ),
    Code(
        "E1042",
        "tokens between more than two units",
        "Tokens of one kind are given by instructions of one unit and taken by those of one unit, so that the n-th "
        "taker waits for the n-th giver and cycles are the same on every machine.",
    ),
    Code(
        "E1043",
        "a program without sound control",
        "A program ends with its only HALT, and a LOOP repeats instructions that stand before it, without another LOOP "
        "among them.",
    ),
    Code(
        "E1044",
        "a program that takes too long",
        "The loops of a program make it longer than is simulated. Compile it for fewer samples or steps a run.",
    ),
    Code(
        "E1045",
        "cycles that do not add up",
        "Every cycle of a unit has one reason, and the simulator checks that they add up to the run. "
        "They were not, which is a fault of the simulator. Please report it with the program.",
    ),
    Code(
        "E1050",
        "what the engine cannot do",
        "The engine multiplies activations of 8 bits with weights of 8, 4 or 2 bits, and scales, rounds, clamps and "
        "looks up sums. Cells run forwards, from a state of zeros. The message names a station that needs more than "
        "that. Other targets may do it.",
    ),
    Code(
        "E1051",
        "a net that does not fit into the machine",
        "The memories of the machine do not hold what the net needs, or the program is too long. The message names the "
        "memory; a machine description with larger numbers, or fewer samples a run, help.",
    ),
    Code(
        "E1060",
        "a program that the hardware cannot replay",
        "Hardware is built for one machine, and the board that simulators put around it holds 65536 rows of inputs and "
        "of outputs and 4 MiB of weights. Compile for this machine, or for fewer samples a run.",
    ),
    Code(
        "E1061",
        "a hardware simulator failed",
        "Verilator or Icarus did not take the generated Verilog or did not come to an end. The message shows the last "
        "of what it said.",
    ),
    Code(
        "E1062",
        "an unknown hardware simulator",
        "`pathc sim --rtl` runs the generated hardware in `verilator` or in `icarus`.",
    ),
    Code(
        "E1063",
        "a hardware simulator is not installed",
        "Verilator builds a program with `make` and `g++`; Icarus is `iverilog` and `vvp`. Both are Debian packages.",
    ),
    Code(
        "E1064",
        "hardware and simulator disagree",
        "The generated hardware and the simulator must give the same outputs after the same number of cycles. They did "
        "not, which is a fault of one of them. Please report it with the program.",
    ),
)
