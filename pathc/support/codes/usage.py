"""Codes E08xx, the command line and the driver behind it."""

from __future__ import annotations

from pathc.support.codes.base import Code

CODES: tuple[Code, ...] = (
    Code(
        "E0801",
        "an option of the form NAME=VALUE cannot be read",
        "`--set P=8192` gives a `let` of the main file another value, `--form main.1=windowed` a junction another "
        "kernel form. Name and value are joined by `=` without blanks.",
    ),
    Code(
        "E0802",
        "neither a .path nor a .pir file",
        "Models are read from `.path` files, graphs from `.pir` files, told apart by their suffix. From standard input "
        "(`-`) a text that begins with the word `pir` is taken as a graph.",
    ),
    Code(
        "E0803",
        "a graph has nothing to set",
        "`--set` changes a `let`, and a `.pir` text has none any more: its numbers are computed. Set the value where "
        "the `.path` file is compiled.",
    ),
    Code(
        "E0804",
        "no such stage to look at",
        "`pathc dump --emit` shows the stages of a compilation; which ones a target adds is listed by `pathc targets`.",
    ),
    Code(
        "E0805",
        "nothing to explain under this name",
        "`pathc explain` takes a diagnostic code, a word of the language, or one of `codes`, `forms`, `passes`, "
        "`targets`, `words`.",
    ),
    Code(
        "E0806",
        "a target cannot be read",
        "A target is the name of a backend with options in braces, `llvm{cpu=avx2,threads=1}`, or the name of a "
        "`target` block of the model.",
    ),
    Code(
        "E0807",
        "no such kind of output",
        "`pathc compile` writes what the suffix of `-o` names, or the kind given by `--emit`. `pathc targets` lists "
        "what each target can write.",
    ),
    Code(
        "E0808",
        "a batch that is no number of samples",
        "`--batch` takes numbers from 1 to 2^24, several of them joined by commas where `bench` reads them.",
    ),
    Code(
        "E0809",
        "no such peer to compare with",
        "`bench --against` measures other libraries on the same net: numpy, scipy, torch and mkl, each if installed; "
        "`run --against` compares with the reference.",
    ),
    Code(
        "E0810",
        "no such target",
        "`-t` takes a backend that `pathc targets` lists, or the name of a `target` block of the model.",
    ),
    Code(
        "E0811",
        "a target is not available here",
        "The target exists, but this machine or installation lacks what it needs; the help line says what. Exit "
        "code 3.",
    ),
    Code(
        "E0812",
        "internal error: a target disagrees with the reference",
        "The outputs differ from those of the float64 interpreter by more than rounding can explain. This is a mistake "
        "of pathc, whatever the model says.",
    ),
    Code(
        "E0813",
        "internal error",
        "The compiler met a state it does not know. It has written a file with the command, the model and the place in "
        "its own code; please report it with that file.",
    ),
    Code(
        "E0814",
        "the memory does not suffice",
        "The system refused memory that the command asked for. Use a smaller count, a smaller batch or a machine with "
        "more memory.",
    ),
    Code(
        "E0815",
        "a peer is not installed",
        "A library to compare with is not installed, so its column is left out; the note says how to install it.",
    ),
    Code(
        "E0816",
        "a remote device that cannot be measured so",
        "`pathc bench --rpc HOST:PORT --key K` measures the targets `tvm-llvm` and `cuda` on a device that the "
        "tracker at that address lends under that key. Other libraries (`--against`) run on this machine only.",
    ),
    Code(
        "W0801",
        "the machine is busy",
        "A fixed piece of work is timed again and again between the measurements. Where its times differ by more than "
        "a tenth, other programs share the machine, and the figures say less than they seem to.",
    ),
    Code(
        "W0802",
        "initial weights",
        "No weights were given, so the net runs with the initial ones. Times are those of the trained net; outputs are "
        "not.",
    ),
    Code(
        "W0803",
        "peers without recurrent cells and extents",
        "`bench --against` gives other libraries the matrices of a net. They have neither recurrent cells nor filters, "
        "so such a net is timed without them.",
    ),
)
