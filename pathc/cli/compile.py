"""`pathc compile`."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path

from pathc.cli.flags import Verb, add_model, add_output, add_pipeline, add_target, add_voice, batches, options_of
from pathc.cli.talk import Talk, put


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_output(parser, "write net.so, net.o, net.ll, net.s by suffix, with what a C program needs beside the first two")
    parser.add_argument("--emit", metavar="KIND", default="", help="what to write, whatever the suffix")
    parser.add_argument("--batch", metavar="N", default="", help="make kernels for this many samples (default: any)")
    add_pipeline(parser)
    add_target(parser)
    add_voice(parser)


def _run(arguments: argparse.Namespace) -> int:
    from pathc.driver import compile_model, emit, kind_of, write_output

    talk, options = Talk.of(arguments), options_of(arguments)
    out = arguments.output
    stem = Path(out).stem if out else ""
    options = replace(
        options,
        batch=batches(arguments.batch)[0] if arguments.batch else 0,
        name=stem if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", stem) else "",
    )
    kind = arguments.emit or (kind_of(out) if out else "")
    compiled = compile_model(arguments.file, arguments.target, arguments.weights, options)
    talk.diagnostics(compiled.notes)
    if out:
        for path in write_output(compiled, kind, out):
            talk.say(f"written: {path}")
    elif kind:
        put(emit(compiled, kind))
    else:
        talk.say(f"{compiled.graph.name}: compiles for {compiled.target.name}; name a file with -o to keep it")
    talk.more(f"{compiled.seconds * 1e3:.1f} ms")
    return 0


VERB = Verb(
    "compile", "write code for a target", "Compile a model; the suffix of -o says what is written.", _arguments, _run
)
